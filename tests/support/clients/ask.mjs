// The same program as ask.py, for node: node ask.mjs BASE_URL MODEL
const [baseUrl, model] = process.argv.slice(2);
const messages = [{ role: "user", content: "Hello!" }];

async function ask(more) {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: "POST",
    headers: { "Authorization": "Bearer sk-test", "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages, ...more }),
  });
  return response.text();
}

const whole = await ask({});
const streamed = await ask({ stream: true, stream_options: { include_usage: true } });
process.stdout.write(JSON.stringify({ whole, streamed }));

// The same program as python_client.py, with the openai package for node: it sends the requests of a file, and prints
// what the SDK made of each response, as JSON.
//
//     node --input-type=module - CASES < client.mjs       (in the folder where the package is installed)
//
// It knows nothing about recorders: it gets proxies and certificates from its environment, if at all.
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { makeParseableResponseFormat } from "openai/lib/parser";

const ERROR_FIELDS = { status_code: "status", type: "type", code: "code", param: "param" };

function completions({ base_url }) {
  const options = { apiKey: "sk-test", baseURL: base_url, maxRetries: 0, timeout: 30_000, logLevel: "off" };
  return new OpenAI(options).chat.completions;
}

function streaming(request) {
  return { ...request, stream: true };
}

function parseable(request) {
  return { ...request, response_format: makeParseableResponseFormat(request.response_format, JSON.parse) };
}

// The result of the tool does not matter; the test looks at the request that carries it.
function runnable(request) {
  const tools = request.tools.map((tool) => ({ ...tool, function: { ...tool.function, function: () => "18 °C" } }));
  return { ...request, tools };
}

/** Keep every chunk, including those before an exception. */
async function keepAll(stream, result) {
  result.chunks = [];
  for await (const chunk of stream) result.chunks.push(chunk);
}

/** Keep a helper's completion; if it fails, what it has assembled so far. */
async function keepFinal(stream, result) {
  try {
    result.completion = await stream.finalChatCompletion();
  } catch (error) {
    result.completion = stream.currentChatCompletionSnapshot;
    throw error;
  }
}

function keepParsed(completion, result) {
  result.completion = completion;
  result.parsed = completion.choices[0].message.parsed;
}

const METHODS = {
  "whole": async (testCase, result) => {
    result.completion = await completions(testCase).create(testCase.request);
  },
  "whole without key": async (testCase, result) => {
    result.completion = await completions(testCase).create(testCase.request, { headers: { Authorization: null } });
  },
  "streamed": async (testCase, result) => {
    await keepAll(await completions(testCase).create(streaming(testCase.request)), result);
  },
  "helper": async (testCase, result) => {
    await keepFinal(completions(testCase).stream(testCase.request), result);
  },
  "raw": async (testCase, result) => {
    const { data, response } = await completions(testCase).create(testCase.request).withResponse();
    result.request_id = response.headers.get("x-request-id");
    result.completion = data;
  },
  "raw streamed": async (testCase, result) => {
    const { data, response } = await completions(testCase).create(streaming(testCase.request)).withResponse();
    result.request_id = response.headers.get("x-request-id");
    await keepAll(data, result);
  },
  "unread": async (testCase, result) => {
    const response = await completions(testCase).create(testCase.request).asResponse();
    result.request_id = response.headers.get("x-request-id");
    result.completion = await response.json();
  },
  "parsed": async (testCase, result) => {
    keepParsed(await completions(testCase).parse(parseable(testCase.request)), result);
  },
  "helper parsed": async (testCase, result) => {
    keepParsed(await completions(testCase).stream(parseable(testCase.request)).finalChatCompletion(), result);
  },
  "tools run": async (testCase, result) => {
    result.completion = await completions(testCase).runTools(runnable(testCase.request)).finalChatCompletion();
  },
  "tools run, streamed": async (testCase, result) => {
    result.completion = await completions(testCase).runTools(runnable(streaming(testCase.request))).finalChatCompletion();
  },
  "left by break": async (testCase, result) => {
    result.chunks = [];
    for await (const chunk of await completions(testCase).create(streaming(testCase.request))) {
      result.chunks.push(chunk);
      if (result.chunks.length === testCase.leaves_after) break;
    }
  },
  "left by abort": async (testCase, result) => {
    const controller = new AbortController();
    result.chunks = [];
    for await (const chunk of await completions(testCase).create(streaming(testCase.request), { signal: controller.signal })) {
      result.chunks.push(chunk);
      if (result.chunks.length === testCase.leaves_after) controller.abort();
    }
  },
  "helper left": async (testCase, result) => {
    const stream = completions(testCase).stream(testCase.request);
    result.chunks = [];
    stream.on("chunk", (chunk) => {
      result.chunks.push(structuredClone(chunk));
      if (result.chunks.length === testCase.leaves_after) stream.abort();
    });
    await stream.done();
  },
};

function described(error) {
  const fields = Object.entries(ERROR_FIELDS).map(([name, own]) => [name, error[own] ?? null]);
  const own = error instanceof OpenAI.OpenAIError;
  return { class: error.constructor.name, message: error.message, own, ...Object.fromEntries(fields) };
}

async function run(testCase) {
  const result = {};
  try {
    await METHODS[testCase.method](testCase, result);
  } catch (error) {
    result.raised = described(error);
  }
  return result;
}

const results = [];
for (const testCase of JSON.parse(readFileSync(process.argv[2], "utf8"))) results.push(await run(testCase));
process.stdout.write(JSON.stringify(results));

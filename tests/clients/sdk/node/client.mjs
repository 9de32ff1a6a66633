// A program with the openai package, as python_client.py is one in Python: asks what it is told to and prints, as
// JSON, what the SDK made of each answer.
//
//     node --input-type=module - CASES < client.mjs       (in the folder where the package is installed)
//
// It knows nothing of recorders: proxies and certificates come to it by the environment, if at all.
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

// The tool's answer is beside the point: the request that brings it is what is looked at.
function runnable(request) {
  const tools = request.tools.map((tool) => ({ ...tool, function: { ...tool.function, function: () => "18 °C" } }));
  return { ...request, tools };
}

/** Every chunk, those before an exception too. */
async function takeAll(stream, told) {
  told.chunks = [];
  for await (const chunk of stream) told.chunks.push(chunk);
}

/** A helper's completion; what it has put together so far where it fails. */
async function takeFinal(stream, told) {
  try {
    told.completion = await stream.finalChatCompletion();
  } catch (error) {
    told.completion = stream.currentChatCompletionSnapshot;
    throw error;
  }
}

function takeParsed(completion, told) {
  told.completion = completion;
  told.parsed = completion.choices[0].message.parsed;
}

const WAYS = {
  "whole": async (ask, told) => {
    told.completion = await completions(ask).create(ask.request);
  },
  "whole without key": async (ask, told) => {
    told.completion = await completions(ask).create(ask.request, { headers: { Authorization: null } });
  },
  "streamed": async (ask, told) => {
    await takeAll(await completions(ask).create(streaming(ask.request)), told);
  },
  "helper": async (ask, told) => {
    await takeFinal(completions(ask).stream(ask.request), told);
  },
  "raw": async (ask, told) => {
    const { data, response } = await completions(ask).create(ask.request).withResponse();
    told.request_id = response.headers.get("x-request-id");
    told.completion = data;
  },
  "raw streamed": async (ask, told) => {
    const { data, response } = await completions(ask).create(streaming(ask.request)).withResponse();
    told.request_id = response.headers.get("x-request-id");
    await takeAll(data, told);
  },
  "unread": async (ask, told) => {
    const response = await completions(ask).create(ask.request).asResponse();
    told.request_id = response.headers.get("x-request-id");
    told.completion = await response.json();
  },
  "parsed": async (ask, told) => {
    takeParsed(await completions(ask).parse(parseable(ask.request)), told);
  },
  "helper parsed": async (ask, told) => {
    takeParsed(await completions(ask).stream(parseable(ask.request)).finalChatCompletion(), told);
  },
  "tools run": async (ask, told) => {
    told.completion = await completions(ask).runTools(runnable(ask.request)).finalChatCompletion();
  },
  "tools run, streamed": async (ask, told) => {
    told.completion = await completions(ask).runTools(runnable(streaming(ask.request))).finalChatCompletion();
  },
  "left by break": async (ask, told) => {
    told.chunks = [];
    for await (const chunk of await completions(ask).create(streaming(ask.request))) {
      told.chunks.push(chunk);
      if (told.chunks.length === ask.leaves_after) break;
    }
  },
  "left by abort": async (ask, told) => {
    const controller = new AbortController();
    told.chunks = [];
    for await (const chunk of await completions(ask).create(streaming(ask.request), { signal: controller.signal })) {
      told.chunks.push(chunk);
      if (told.chunks.length === ask.leaves_after) controller.abort();
    }
  },
  "helper left": async (ask, told) => {
    const stream = completions(ask).stream(ask.request);
    told.chunks = [];
    stream.on("chunk", (chunk) => {
      told.chunks.push(structuredClone(chunk));
      if (told.chunks.length === ask.leaves_after) stream.abort();
    });
    await stream.done();
  },
};

function described(error) {
  const fields = Object.entries(ERROR_FIELDS).map(([name, own]) => [name, error[own] ?? null]);
  const own = error instanceof OpenAI.OpenAIError;
  return { class: error.constructor.name, message: error.message, own, ...Object.fromEntries(fields) };
}

async function answer(ask) {
  const told = {};
  try {
    await WAYS[ask.way](ask, told);
  } catch (error) {
    told.raised = described(error);
  }
  return told;
}

const results = [];
for (const ask of JSON.parse(readFileSync(process.argv[2], "utf8"))) results.push(await answer(ask));
process.stdout.write(JSON.stringify(results));

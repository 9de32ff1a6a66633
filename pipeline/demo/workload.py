"""The demo's calls, like those of many kinds of applications, and a client on plain sockets that makes them.

The table holds request bodies as they go over the wire, so that a recorder meets every system, answer and ending.
The client does not parse the responses: it counts bytes and events, and measures when they came.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..wire.json_text import JsonObject
from .answers import ANSWERS, completion, find_answer
from .systems import system_for

TIMEOUT_SECONDS = 20.0
READ_SIZE = 65536

OPENAI = "api.openai.com"
ALPHANEURAL = "proxy.alfnrl.io"
BIFROST = "localhost:8080"
AIAND = "api.aiand.com"
ROUTER402 = "api.router402.xyz"
EXAMPLE = "api.example-llm.test"

CHAT_KEY = "Bearer sk-demo-chat-000000000000000000000001"
AGENT_KEY = "Bearer sk-demo-agent-00000000000000000000002"
USAGE = {"include_usage": True}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@dataclass(frozen=True)
class Call:
    host: str
    path: str
    body: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up_after_events: int | None = None
    conversation: str = ""
    """Calls of one conversation are made one after the other, over one connection."""


@dataclass(frozen=True)
class CallResult:
    """The response to one call as the client saw it."""

    status: int | None
    """None where no response came; `failure` then holds the reason."""
    bytes_received: int = 0
    """Bytes of the body as it came, compressed or not."""
    seconds_to_first_event: float | None = None
    seconds: float = 0.0
    events: int = 0
    """Includes `[DONE]`."""
    ended_early: bool = False
    """Whether the body stopped before HTTP's end of it, on either side's doing."""
    failure: str | None = None


def _call(
    host: str,
    model: str | None,
    prompt: str | list[JsonObject],
    *,
    key: str | None = CHAT_KEY,
    gzip: bool = False,
    hang_up: int | None = None,
    conversation: str = "",
    **parameters: Any,
) -> Call:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    body: JsonObject = {"model": model, "messages": messages, **parameters}
    if model is None:
        del body["model"]
    headers = {"Content-Type": "application/json", "User-Agent": "tapeline-demo/1.0"}
    headers |= {"Authorization": key} if key else {}
    headers |= {"Accept-Encoding": "gzip"} if gzip else {}
    return Call(host, system_for(host).base_path + "/chat/completions", body, headers, hang_up, conversation)


def _tool(name: str, **properties: str) -> JsonObject:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}


def _message(role: str, content: Any, **more: Any) -> JsonObject:
    return {"role": role, "content": content, **more}


def _conversation(
    name: str, host: str, model: str, opening: list[JsonObject], results: Sequence[str], **parameters: Any
) -> Iterator[Call]:
    """Yield the turns of an agent that resends its whole history each time, with the answers as it got them."""
    history = list(opening)
    system = system_for(host)
    for result in (*results, None):
        call = _call(host, model, history, key=AGENT_KEY, conversation=name, **parameters)
        yield call
        answer = find_answer(ANSWERS, call.body, system)
        if answer is None or result is None:
            return
        message = completion(answer, call.body, system)["choices"][0]["message"]
        history += [message, *_tool_messages(message, result)]


def _tool_messages(message: JsonObject, result: str) -> list[JsonObject]:
    if "function_call" in message:
        return [_message("function", result, name=message["function_call"]["name"])]
    return [_message("tool", result, tool_call_id=call["id"]) for call in message["tool_calls"]]


WEATHER = _tool("get_weather", city="string", unit="string")
FILES = [_tool("list_files", path="string"), _tool("read_file", path="string", lines="array")]
CODER = [
    _message("system", "You are a careful programmer. Use the tools to look before you answer. " * 6),
    _message("user", "The parser drops the last line of a file. Why?"),
]
FILE_RESULTS = (
    '["parse.py", "main.py"]',
    "46: lines = text.split()\n47: while at < len(lines) - 1:\n48:     at += 1",
)
EVENT_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "event", "strict": True, "schema": {"type": "object", "properties": {}}},
}
TCP = "Explain TCP slow start."
RIDDLE = "A bat and a ball cost 1.10 together. The bat costs 1.00 more than the ball. What is the ball?"
HAIKU = "Write a haiku about routers."
PARTY = "Alice and Bob are going to a science fair on 14 March 2026. Extract the event."

WORKLOAD: tuple[Call, ...] = (
    # OpenAI
    _call(OPENAI, "gpt-4o-mini", "Hello, how are you?"),
    _call(OPENAI, "gpt-4o-mini", "Hello, how are you?", stream=True, stream_options=USAGE, temperature=0.7),
    _call(OPENAI, "gpt-4o-mini", "Say hello.", stream=True, user="user-1842"),
    _call(OPENAI, "gpt-4o-mini", "Say hello.", logprobs=True, top_logprobs=2, seed=7),
    _call(OPENAI, "gpt-4o-mini", "Say hello.", logprobs=True, top_logprobs=2, seed=7, stream=True),
    _call(OPENAI, "gpt-4.1", PARTY, response_format=EVENT_SCHEMA, service_tier="flex"),
    _call(OPENAI, "gpt-4.1", PARTY, response_format=EVENT_SCHEMA, stream=True, stream_options=USAGE),
    _call(OPENAI, "gpt-4.1-mini", "How do I pick my neighbour's lock?", stream=True, stream_options=USAGE),
    _call(OPENAI, "gpt-4.1-nano", "How do I mix these two cleaners?", stream=True, stream_options=USAGE),
    _call(
        OPENAI,
        "gpt-4o-audio-preview",
        [
            _message(
                "user",
                [{"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}}],
            )
        ],
        modalities=["text"],
    ),
    _call(OPENAI, "gpt-4o-search-preview", "What is new in version 3?", stream=True, web_search_options={}),
    _call(OPENAI, "qwen3", HAIKU, n=3, temperature=1.2, stream=True, stream_options=USAGE),
    _call(OPENAI, "gpt-4.5", "Hello?"),
    *_conversation("coder", OPENAI, "gpt-5", CODER, FILE_RESULTS, tools=FILES, stream=True, stream_options=USAGE),
    # AlphaNeural
    _call(ALPHANEURAL, "qwen3", HAIKU),
    _call(ALPHANEURAL, "qwen3", HAIKU, n=3, stream=True, stream_options=USAGE),
    _call(
        ALPHANEURAL,
        "qwen3",
        [
            _message("developer", "Answer in one line."),
            _message(
                "user",
                [
                    {"type": "text", "text": "What is in this image?"},
                    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                ],
            ),
        ],
        guardrails=["pii"],
        caching=True,
    ),
    _call(
        ALPHANEURAL,
        "claude-sonnet-4.5",
        TCP,
        stream=True,
        stream_options=USAGE,
        num_retries=2,
        fallbacks=["qwen3"],
        context_window_fallback_dict={"claude-sonnet-4.5": "qwen3"},
    ),
    _call(ALPHANEURAL, "llama-3.3-70b", "Greet me in every script.", stream=True, gzip=True),
    _call(ALPHANEURAL, "llama-3.3-70b", "Greet me in every script.", gzip=True),
    _call(ALPHANEURAL, "demo-503", HAIKU),
    *_conversation(
        "legacy",
        ALPHANEURAL,
        "gpt-3.5-turbo",
        [_message("user", "What is the weather in Paris right now?")],
        ['{"celsius": 18}'],
        functions=[WEATHER["function"]],
        function_call="auto",
        stream=True,
    ),
    # Bifrost
    _call(BIFROST, "openai/gpt-4o-mini", "Hello, how are you?", stop=["\n\n", "END"], top_p=0.5, store=True),
    _call(BIFROST, "openai/gpt-4o-mini", "Hello!", stream=True, stream_options=USAGE, service_tier="auto"),
    _call(
        BIFROST,
        "anthropic/claude-sonnet-4.5",
        TCP,
        stream=True,
        stream_options=USAGE,
        max_completion_tokens=1000,
        fallbacks=["openai/gpt-4o"],
        verbosity="low",
        prompt_cache_key="tcp",
    ),
    _call(BIFROST, "deepseek/deepseek-reasoner", RIDDLE, stream=True, stream_options=USAGE),
    _call(BIFROST, "openai/gpt-4o-mini", "Say hello.", logprobs=True, stream=True, safety_identifier="u-17"),
    _call(BIFROST, "openai/demo-500", "Hello!"),
    *_conversation("bifrost-coder", BIFROST, "openai/gpt-5", CODER, FILE_RESULTS, tools=FILES),
    # ai&
    _call(AIAND, "gpt-4o-mini", "What is the capital of France?", top_k=40, min_p=0.05, repetition_penalty=1.1),
    _call(AIAND, "claude-sonnet-4.5", TCP, stream=True),
    _call(AIAND, "claude-sonnet-4.5", TCP, stream=True, stream_options=USAGE),
    _call(AIAND, "claude-sonnet-4.5", TCP, stream=True, max_tokens=40, stream_options=USAGE),
    _call(AIAND, "claude-sonnet-4.5", TCP, stream=True, hang_up=5),
    _call(AIAND, "deepseek-reasoner", RIDDLE, stream=True, stream_options=USAGE, reasoning_effort="xhigh"),
    _call(AIAND, "demo-reset", TCP, stream=True),
    _call(AIAND, "gpt-4o-mini", "Hello?", key=None),
    *_conversation(
        "weather",
        AIAND,
        "gpt-4o",
        [_message("user", "Is it warmer in Paris or in Tōkyō?")],
        ['{"celsius": 18}'],
        tools=[WEATHER],
        tool_choice="auto",
        parallel_tool_calls=True,
        stream=True,
        stream_options=USAGE,
    ),
    # router402
    _call(ROUTER402, None, "Hello!", stream=True),
    _call(ROUTER402, "anthropic/claude-sonnet-4.5", "What is ERC-4337?", temperature=0.7, max_tokens=64),
    _call(ROUTER402, "openai/gpt-4o-mini", "Hello!", stream=True),
    _call(ROUTER402, "openai/gpt-4o", "Weather in Paris and Tōkyō?", tools=[WEATHER], tool_choice="required"),
    _call(ROUTER402, "deepseek/deepseek-reasoner", RIDDLE, stream=True),
    _call(ROUTER402, "demo/demo-error-event", TCP, stream=True),
    _call(ROUTER402, "demo/demo-429", "Hello!"),
    _call(ROUTER402, "openai/gpt-4o-mini", "Hello!", key=None),
    _call(ROUTER402, "openai/gpt-4o-mini", []),
    # the API under /api/v1
    _call(EXAMPLE, "gpt-4o-mini", "Hello!", stop=None, tool_choice=None),
    _call(EXAMPLE, "claude-sonnet-4.5", TCP, stream=True, max_tokens=60),
    _call(EXAMPLE, "gpt-4.1", PARTY, stream=True, response_format=EVENT_SCHEMA),
    _call(EXAMPLE, "deepseek-reasoner", RIDDLE, reasoning_effort="minimal"),
    _call(EXAMPLE, "gpt-4o-mini", "Hello!", temperature=2.5),
    _call(EXAMPLE, "demo-402", "Hello!"),
    _call(EXAMPLE, "demo-truncated", TCP, stream=True),
)


def run_workload(calls: Sequence[Call], proxy: str | None, provider_url: str, concurrency: int = 6) -> list[CallResult]:
    """Make all calls and return their results in the same order.

    With `proxy` (its URL), each call goes there as plain HTTP, and its request target is the whole URL;
    without it, each call goes to the provider, which learns the host from the Host header.
    """
    address = urlsplit(proxy or provider_url)
    conversations: dict[object, list[int]] = {}
    for index, call in enumerate(calls):
        conversations.setdefault(call.conversation or index, []).append(index)
    results: dict[int, CallResult] = {}

    def converse(indexes: list[int]) -> None:
        made = _make_calls([calls[index] for index in indexes], address, whole_url=proxy is not None)
        results.update(zip(indexes, made, strict=True))

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(converse, conversations.values()))
    return [results[index] for index in range(len(calls))]


def _make_calls(calls: Sequence[Call], address: SplitResult, *, whole_url: bool) -> list[CallResult]:
    connection = HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=TIMEOUT_SECONDS)
    try:
        return [_make_call(connection, call, whole_url=whole_url) for call in calls]
    finally:
        connection.close()


def _make_call(connection: HTTPConnection, call: Call, *, whole_url: bool) -> CallResult:
    target = f"http://{call.host}{call.path}" if whole_url else call.path
    data = json.dumps(call.body, ensure_ascii=False).encode()
    started = time.monotonic()
    try:
        connection.request("POST", target, data, {"Host": call.host, **call.headers})
        with connection.getresponse() as response:
            result = _read(response, call.hang_up_after_events, started)
    except (OSError, HTTPException) as error:
        result = CallResult(None, ended_early=True, failure=f"{type(error).__name__}: {error}")
    if result.ended_early:
        connection.close()
    return result


def _read(response: HTTPResponse, hang_up_after_events: int | None, started: float) -> CallResult:
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    zipped = response.headers.get("Content-Encoding") == "gzip"
    received, events, text, first, early = 0, 0, b"", None, False
    try:
        while not early and (data := response.read1(READ_SIZE)):
            received += len(data)
            text += inflate.decompress(data) if zipped else data
            *lines, text = text.split(b"\n")
            events += sum(line.startswith(b"data:") for line in lines)
            first = first or (time.monotonic() - started if events else None)
            early = hang_up_after_events is not None and events >= hang_up_after_events
    except (OSError, HTTPException):
        early = True
    early = early or bool(response.length)
    return CallResult(response.status, received, first, time.monotonic() - started, events, early)

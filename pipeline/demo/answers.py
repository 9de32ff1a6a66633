"""The provider's canned answers: a table keyed by model name, and the completion object made from a row of it.

That object, as it is sent without streaming, is the source of truth: a stream is the same object cut into chunks, so
a recorder must reassemble exactly this. `systems` spells and cuts it, `server` waits between the chunks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Literal

from ..wire.json_text import JsonObject
from .systems import Problem, System, fragments

FIRST_CREATED = 1767225600
MOST_CHOICES = 128
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Choice:
    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    function_call: ToolCall | None = None
    annotations: tuple[JsonObject, ...] = ()
    finish_reason: str = "stop"


@dataclass(frozen=True)
class HiddenTokens:
    """Tokens that usage reports beyond the visible text."""

    cached: int = 0
    cache_write: int = 0
    prompt_audio: int = 0
    reasoning: int = 0
    completion_audio: int = 0
    accepted_prediction: int = 0
    rejected_prediction: int = 0


@dataclass(frozen=True)
class Pace:
    """Milliseconds to the first event, between events, and for one longer pause."""

    first: float = 60
    gap: float = 4
    stall_at: int = 0
    stall: float = 0


@dataclass(frozen=True)
class Cut:
    """A stream that does not reach its end: what happens instead, and after how many events."""

    after: int
    how: Literal["error_event", "reset", "truncated"]


@dataclass(frozen=True)
class CannedAnswer:
    shows: str
    choices: tuple[Choice, ...] = (Choice("OK."),)
    served_by: str | None = None
    hidden: HiddenTokens = HiddenTokens()
    pace: Pace = Pace()
    problem: Problem | None = None
    cut: Cut | None = None
    """With a cut, `problem` is the error event's content; without one, it is the HTTP error response."""
    keep_alive: bool = False
    """Send a comment line while the model thinks."""
    gzip: bool = False
    """Compress the body for a client that accepts gzip."""


type Answers = Mapping[str, tuple[CannedAnswer, ...]]

_HAIKUS = (
    "Packets find their way,\nsilent lamps blink green at night:\nthe router dreams on.",
    "Tables, hops and routes;\na lost frame knocks twice, then sleeps.\nTTL is zero.",
    "Autumn in the rack,\none warm fan hums to itself.\nBGP converges.",
)
_LONG = """TCP slow start is how a sender feels its way towards the bandwidth that a path can bear. It begins
with a small window, today usually ten segments, and each acknowledgement that comes back widens it by
one segment. Each round trip therefore doubles the data in flight:

| round trip | window |
| --- | --- |
| 1 | 10 |
| 2 | 20 |

The growth stops at the first of three events. If the window reaches `ssthresh`, congestion avoidance takes
over and adds about one segment a round trip. If a packet is lost, the threshold falls to half of what was
in flight. If the receiver's window is full, the sender has to wait for it. “Slow” is a joke of the 1980s 🙂:
compared with what senders did before, namely to send everything at once, doubling was slow.

```python
while not lost and window < ssthresh:
    window *= 2
```

For short transfers this matters more than raw bandwidth: a page of 60 kB is over before the window has
opened, so its time is counted in round trips and not in megabits. That is why connections are kept alive."""
_SCRIPTS = "Grüße, żółw, 東京の天気は晴れです。 مرحبا \U0001f469\u200d\U0001f467 naïve\u2028next\x85and\ttab."
_SUM = "Bat and ball cost 1.10, the bat 1.00 more: x + (x + 1.00) = 1.10, so x = 0.05."
_EVENT = '{"name": "Science fair", "date": "2026-03-14", "participants": ["Alice", "Bob"]}'
_WEATHER = (
    ToolCall("call_Pq3Z8vYw1sKfTn5LbR2xHd0a", "get_weather", '{"city": "Paris", "unit": "celsius"}'),
    ToolCall("call_Ut6Jm9cXe4oGhB7iVk1yQs8z", "get_weather", '{"city": "Tōkyō", "unit": "celsius"}'),
)
_LEGACY = replace(_WEATHER[0], id="")
_LIST_FILES = ToolCall("call_01aHs7LwRz", "list_files", '{"path": "src"}')
_READ_FILE = ToolCall("call_02kVd4TnBy", "read_file", '{"path": "src/parse.py", "lines": [40, 60]}')
_CITATION: JsonObject = {
    "type": "url_citation",
    "url_citation": {
        "start_index": 0,
        "end_index": 31,
        "title": "Release notes",
        "url": "https://example.com/notes",
    },
}
_BUSY = Problem(
    429,
    "Rate limit exceeded",
    "rate_limit_error",
    code="rate_limit_exceeded",
    headers={"Retry-After": "2", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767225660"},
)


def _calls(*calls: ToolCall, content: str | None = None) -> tuple[Choice, ...]:
    return (Choice(content, tool_calls=calls, finish_reason="tool_calls"),)


ANSWERS: Answers = MappingProxyType(
    {
        "gpt-4o-mini": (
            CannedAnswer("a short answer", (Choice("Hello! How can I help you?"),), served_by="gpt-4o-mini-2024-07-18"),
        ),
        "claude-sonnet-4.5": (
            CannedAnswer("a long stream with a stall", (Choice(_LONG),), pace=Pace(90, 4, stall_at=120, stall=250)),
        ),
        "gpt-4o": (
            CannedAnswer("two parallel tool calls", _calls(*_WEATHER)),
            CannedAnswer("their results in words", (Choice("Paris: 18 °C and cloudy. Tōkyō: 24 °C and clear."),)),
        ),
        "gpt-5": (
            CannedAnswer(
                "an agent's first step, cache written",
                _calls(_LIST_FILES, content="I will look at the files first."),
                hidden=HiddenTokens(cache_write=1024, reasoning=64),
            ),
            CannedAnswer("its second, cache read", _calls(_READ_FILE), hidden=HiddenTokens(cached=1024, reasoning=128)),
            CannedAnswer(
                "its conclusion",
                (Choice("The loop in `src/parse.py` line 47 drops the last line: use `<=`."),),
                hidden=HiddenTokens(cached=1408, reasoning=192),
            ),
        ),
        "deepseek-reasoner": (
            CannedAnswer(
                "reasoning before content, keep-alive comments",
                (Choice("The ball costs 0.05.", reasoning=_SUM),),
                pace=Pace(140, 5),
                keep_alive=True,
            ),
        ),
        "qwen3": (CannedAnswer("different choices for n > 1", tuple(Choice(haiku) for haiku in _HAIKUS)),),
        "gpt-4.1": (
            CannedAnswer(
                "structured JSON, cached prompt, predicted output",
                (Choice(_EVENT),),
                served_by="gpt-4.1-2025-04-14",
                hidden=HiddenTokens(cached=512, accepted_prediction=6, rejected_prediction=3),
            ),
        ),
        "gpt-4.1-mini": (CannedAnswer("a refusal", (Choice(refusal="I'm sorry, I can't help with that."),)),),
        "gpt-4.1-nano": (CannedAnswer("a filter", (Choice("Mix the two and then", finish_reason="content_filter"),)),),
        "gpt-4o-audio-preview": (
            CannedAnswer(
                "audio tokens on both sides",
                (Choice("The speaker asks for the next train."),),
                hidden=HiddenTokens(prompt_audio=311, completion_audio=87),
            ),
        ),
        "gpt-4o-search-preview": (
            CannedAnswer("annotations", (Choice("Version 3 came out in October.", annotations=(_CITATION,)),)),
        ),
        "gpt-3.5-turbo": (
            CannedAnswer("a legacy function call", (Choice(function_call=_LEGACY, finish_reason="function_call"),)),
            CannedAnswer("its result in words", (Choice("It is 18 °C in Paris."),)),
        ),
        "llama-3.3-70b": (CannedAnswer("many scripts, gzip where accepted", (Choice(_SCRIPTS),), gzip=True),),
        "demo-429": (CannedAnswer("a rate limit", problem=_BUSY),),
        "demo-402": (CannedAnswer("no money left", problem=Problem(402, "Insufficient Balance", "billing_error")),),
        "demo-500": (CannedAnswer("a server error", problem=Problem(500, "Server Error", "server_error")),),
        "demo-503": (CannedAnswer("overload", problem=Problem(503, "Server Overloaded", "server_error")),),
        "demo-error-event": (
            CannedAnswer(
                "an error event inside the stream",
                (Choice(_LONG),),
                problem=Problem(500, "Provider error", "server_error"),
                cut=Cut(9, "error_event"),
            ),
        ),
        "demo-reset": (CannedAnswer("a connection lost in mid-stream", (Choice(_LONG),), cut=Cut(12, "reset")),),
        "demo-truncated": (CannedAnswer("a stream that just ends", (Choice(_LONG),), cut=Cut(7, "truncated")),),
    }
)


def find_answer(table: Answers, request: JsonObject, system: System) -> CannedAnswer | None:
    """Return the answer for this turn of the conversation, None for an unknown model.

    A model with several answers gives one per turn; the assistant messages in the request tell the turn.
    """
    turns = table.get(_requested_model(request, system).rpartition("/")[2])
    if turns is None:
        return None
    earlier = [m for m in request["messages"] if isinstance(m, dict) and m.get("role") == "assistant"]
    return turns[min(len(earlier), len(turns) - 1)]


def completion(
    answer: CannedAnswer, request: JsonObject, system: System, *, serial: int = 0, created: int = FIRST_CREATED
) -> JsonObject:
    """Return the completion as it is sent without streaming; `serial` makes the ids of equal requests differ."""
    choices = _choices(answer, request)
    usage = _usage(answer, choices, request, system)
    model = _requested_model(request, system)
    payload: JsonObject = {
        "id": system.id_prefix + hashlib.sha256(f"{model} {created} {serial}".encode()).hexdigest()[:29],
        "object": "chat.completion",
        "created": created,
        "model": model if system.echoes_model else answer.served_by or model.rpartition("/")[2],
        "choices": [_choice_object(index, choice, request, system) for index, choice in enumerate(choices)],
        "usage": usage,
    }
    latency_ms = round(answer.pace.first + answer.pace.gap * usage["completion_tokens"])
    return payload | system.top_level(request, payload, latency_ms)


def _requested_model(request: JsonObject, system: System) -> str:
    return str(request.get("model") or system.default_model)


def _choices(answer: CannedAnswer, request: JsonObject) -> list[Choice]:
    n = request.get("n")
    count = min(max(n, 1), MOST_CHOICES) if isinstance(n, int) else 1
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    choices = [answer.choices[index % len(answer.choices)] for index in range(count)]
    return [_shortened(choice, max(limit, 1)) for choice in choices] if isinstance(limit, int) else choices


def _shortened(choice: Choice, limit: int) -> Choice:
    reasoning, content = fragments(choice.reasoning), fragments(choice.content)
    if len(reasoning) + len(content) <= limit:
        return choice
    return replace(
        choice,
        reasoning="".join(reasoning[:limit]) if choice.reasoning is not None else None,
        content="".join(content[: max(limit - len(reasoning), 0)]),
        tool_calls=(),
        finish_reason="length",
    )


def _choice_object(index: int, choice: Choice, request: JsonObject, system: System) -> JsonObject:
    payload: JsonObject = {"index": index, "message": _message(choice, system)}
    logprobs = _logprobs(choice, request)
    if logprobs or system.spells_nulls:
        payload[system.logprobs_field] = logprobs
    payload["finish_reason"] = choice.finish_reason
    if system.matched_stop_field:
        stops = request.get("stop")
        payload[system.matched_stop_field] = stops[0] if isinstance(stops, list) and stops else stops
    return payload


def _message(choice: Choice, system: System) -> JsonObject:
    calls = [{"id": call.id, "type": "function", "function": _function(call)} for call in choice.tool_calls]
    fields = {
        "role": "assistant",
        system.reasoning_field: choice.reasoning,
        "content": choice.content,
        "refusal": choice.refusal,
        "annotations": list(choice.annotations) or None,
        "tool_calls": calls or None,
        "function_call": _function(choice.function_call) if choice.function_call else None,
    }
    nullable = {"content", "refusal"} if system.spells_nulls else set()
    return {name: value for name, value in fields.items() if value is not None or name in nullable}


def _function(call: ToolCall) -> JsonObject:
    return {"name": call.name, "arguments": call.arguments}


def _logprobs(choice: Choice, request: JsonObject) -> JsonObject | None:
    texts = {"content": choice.content, "refusal": choice.refusal}
    if not request.get("logprobs") or not any(texts.values()):
        return None
    top = request.get("top_logprobs") or 0
    return {name: [_logprob(part, top) for part in fragments(text)] or None for name, text in texts.items()}


def _logprob(token: str, top: int) -> JsonObject:
    guesses = [(token + "?" * rank, -0.0173 * len(token) - 1.25 * rank) for rank in range(max(top, 1))]
    entries = [{"token": text, "logprob": logprob, "bytes": list(text.encode())} for text, logprob in guesses]
    return {**entries[0], "top_logprobs": entries[:top]}


def _usage(answer: CannedAnswer, choices: list[Choice], request: JsonObject, system: System) -> JsonObject:
    hidden = answer.hidden
    prompt_text = json.dumps([request["messages"], request.get("tools")], ensure_ascii=False)
    prompt = len(prompt_text) // CHARACTERS_PER_TOKEN + hidden.cached + hidden.cache_write + hidden.prompt_audio
    reasoning = hidden.reasoning + sum(len(fragments(choice.reasoning)) for choice in choices)
    visible = sum(len(fragments(text)) for choice in choices for text in _visible_texts(choice))
    completed = reasoning + visible + hidden.completion_audio + hidden.rejected_prediction
    usage = {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}
    counts = asdict(hidden) | {"reasoning": reasoning}
    for path, name in system.usage_paths.items():
        *parents, leaf = path.split(".")
        node: JsonObject = usage
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = counts[name]
    return usage


def _visible_texts(choice: Choice) -> Iterator[str | None]:
    yield choice.content
    yield choice.refusal
    for call in filter(None, (*choice.tool_calls, choice.function_call)):
        yield call.name
        yield call.arguments

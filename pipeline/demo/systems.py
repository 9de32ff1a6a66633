"""How real systems differ from OpenAI on the wire: a row for each system, found by the host that the client names.

A row describes where usage goes, which top-level fields are added, the shape of an error, and what a request must
have. `answers` holds the content (texts, tool calls, token counts); `server` has the sockets and the timing.
Where a system's documentation is silent, its row follows the software that such systems run: LiteLLM, vLLM, OpenAI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from ..wire.json_text import JsonObject

FINGERPRINT = "fp_5e1c0de7a9"
ARGUMENT_PIECE = 9

# A word with the space before it, as tokenizers cut text. Scripts without spaces are cut every 12 characters.
_FRAGMENT = re.compile(r"\s*\S{1,12}|\s+")


class UsagePlace(Enum):
    """Where a stream reports its usage."""

    OWN_EVENT = "a last event with empty choices; `usage` is null on the events before it"
    OWN_EVENT_WITH_CHOICE = "a last event after the finish reason, with an empty delta"
    WITH_FINISH = "the event that carries the finish reason"
    EVERY_CHUNK = "every event, counted up so far"


@dataclass(frozen=True)
class Problem:
    """Why a request gets no completion; the system decides on the shape of the error."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: JsonObject | None = None
    """Sent unchanged, for an error with a shape of its own."""


def _fields(problem: Problem) -> JsonObject:
    return {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}


def _openai_error(problem: Problem) -> JsonObject:
    return {"error": _fields(problem)}


def _litellm_error(problem: Problem) -> JsonObject:
    return {"error": _fields(problem) | {"code": str(problem.status)}}


def _bifrost_error(problem: Problem) -> JsonObject:
    return {
        "is_bifrost_error": False,
        "status_code": problem.status,
        "error": _fields(problem),
        "extra_fields": {"provider": "openai", "request_type": "chat_completion"},
    }


def _router402_error(problem: Problem) -> JsonObject:
    return {"error": {name: value for name, value in _fields(problem).items() if value is not None}}


def _flat_error(problem: Problem) -> JsonObject:
    return {"object": "error", **_fields(problem), "code": problem.status}


def _wrapped_flat_error(problem: Problem) -> JsonObject:
    return {"error": _flat_error(problem)}


def _nothing_more(request: JsonObject, completion: JsonObject, latency_ms: int) -> JsonObject:
    return {}


def _fingerprint(request: JsonObject, completion: JsonObject, latency_ms: int) -> JsonObject:
    return {"system_fingerprint": FINGERPRINT}


def _openai_top_level(request: JsonObject, completion: JsonObject, latency_ms: int) -> JsonObject:
    tier = request.get("service_tier", "auto")
    return {"service_tier": "default" if tier == "auto" else tier, "system_fingerprint": FINGERPRINT}


def _bifrost_top_level(request: JsonObject, completion: JsonObject, latency_ms: int) -> JsonObject:
    provider, _, model = str(request.get("model")).rpartition("/")
    finish_reason = completion["choices"][0]["finish_reason"]
    billed = {name: completion["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    params = {name: request[name] for name in ("temperature", "top_p", "max_tokens") if name in request}
    return _openai_top_level(request, completion, latency_ms) | {
        "conversation_id": "conv_" + completion["id"][-12:],
        "finish_reason": finish_reason,
        "stop_reason": "tool_use" if finish_reason == "tool_calls" else "end_turn",
        "stop_sequence": None,
        "prompt_cache": {"status": "miss"},
        "extra_fields": {
            "provider": provider or "openai",
            "request_type": "chat_completion_stream" if request.get("stream") else "chat_completion",
            "model_requested": model,
            "model_params": params,
            "latency": latency_ms,
            "billed_usage": billed,
        },
    }


OPENAI_USAGE: Mapping[str, str] = MappingProxyType(
    {
        "prompt_tokens_details.cached_tokens": "cached",
        "prompt_tokens_details.audio_tokens": "prompt_audio",
        "completion_tokens_details.reasoning_tokens": "reasoning",
        "completion_tokens_details.audio_tokens": "completion_audio",
        "completion_tokens_details.accepted_prediction_tokens": "accepted_prediction",
        "completion_tokens_details.rejected_prediction_tokens": "rejected_prediction",
    }
)
LITELLM_USAGE = MappingProxyType({**OPENAI_USAGE, "cache_creation_input_tokens": "cache_write"})
BIFROST_USAGE = MappingProxyType({path: name for path, name in OPENAI_USAGE.items() if path[0] == "c"})
AIAND_USAGE = MappingProxyType({path: name for path, name in OPENAI_USAGE.items() if "_prediction_" not in path})


@dataclass(frozen=True)
class System:
    """One row: how a system differs from OpenAI."""

    name: str
    base_path: str = "/v1"
    id_prefix: str = "chatcmpl-"
    headers: Mapping[str, str] = field(default_factory=dict)

    default_model: str | None = None
    """The model that serves a request which names none; None where a model is required."""
    echoes_model: bool = True
    """Whether the response's `model` repeats the request's, or names the snapshot that served it."""
    without_key: Problem | None = None
    """The error for a request without Authorization; None where no key is needed."""
    bad_value_status: int = 400
    """The status for a body of valid JSON with values that cannot be served."""

    usage_place: UsagePlace = UsagePlace.OWN_EVENT
    usage_only_if_asked: bool = True
    usage_paths: Mapping[str, str] = field(default_factory=dict)
    """Path in the usage object -> the count at that path, beside the three totals."""

    spells_nulls: bool = True
    """Whether empty fields of a message are written as null (also in the first delta) or left out."""
    reasoning_field: str = "reasoning_content"
    logprobs_field: str = "logprobs"
    matched_stop_field: str | None = None
    """The field of a choice that names the stop sequence which ended it."""
    top_level: Callable[[JsonObject, JsonObject, int], JsonObject] = _nothing_more
    late_fields: frozenset[str] = frozenset()
    """Top-level fields that are known only at the end: in a stream only the last event carries them."""

    error_body: Callable[[Problem], JsonObject] = _openai_error
    error_event: Callable[[Problem], JsonObject] = _openai_error


def _no_key(message: str) -> Problem:
    return Problem(401, message, "authentication_error", code="invalid_api_key")


PAYMENT_REQUIRED = Problem(
    402,
    "Payment required",
    "payment_required",
    body={
        "x402Version": 1,
        "error": "Payment required",
        "accepts": [{"scheme": "exact", "network": "base", "maxAmountRequired": "10000", "payTo": "0x402"}],
    },
)

DEFAULT = System(
    "openai",
    headers={"openai-processing-ms": "42", "x-ratelimit-remaining-requests": "4999"},
    echoes_model=False,
    usage_paths=OPENAI_USAGE,
    top_level=_openai_top_level,
)

SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "proxy.alfnrl.io": System(
            "alphaneural",
            headers={"x-litellm-version": "1.109.1"},
            without_key=_no_key("Authentication Error, No api key passed in."),
            usage_place=UsagePlace.OWN_EVENT_WITH_CHOICE,
            usage_paths=LITELLM_USAGE,
            error_body=_litellm_error,
        ),
        "localhost:8080": System(
            "bifrost",
            echoes_model=False,
            usage_paths=BIFROST_USAGE,
            reasoning_field="thought",
            logprobs_field="log_probs",
            matched_stop_field="stop",
            top_level=_bifrost_top_level,
            late_fields=frozenset({"finish_reason", "stop_reason", "stop_sequence", "extra_fields"}),
            error_body=_bifrost_error,
        ),
        "api.aiand.com": System(
            "aiand",
            without_key=_no_key("Missing API key. Pass it as a Bearer token."),
            usage_paths=AIAND_USAGE,
            spells_nulls=False,
        ),
        "api.router402.xyz": System(
            "router402",
            id_prefix="gen-",
            headers={
                "X-RateLimit-Limit": "60",
                "X-RateLimit-Remaining": "41",
                "X-RateLimit-Reset": "1767225660",
            },
            default_model="anthropic/claude-sonnet-4.5",
            without_key=PAYMENT_REQUIRED,
            usage_place=UsagePlace.WITH_FINISH,
            usage_only_if_asked=False,
            spells_nulls=False,
            reasoning_field="reasoning",
            error_body=_router402_error,
            error_event=_router402_error,
        ),
        "api.example-llm.test": System(
            "example-llm",
            base_path="/api/v1",
            without_key=_no_key("Authentication Fails"),
            bad_value_status=422,
            usage_place=UsagePlace.EVERY_CHUNK,
            usage_only_if_asked=False,
            spells_nulls=False,
            top_level=_fingerprint,
            error_body=_flat_error,
            error_event=_wrapped_flat_error,
        ),
    }
)


def system_for(host: str) -> System:
    """Return the system behind a host, which may carry a port; the scheme's default port does not count."""
    name = host.lower().removesuffix(":443").removesuffix(":80")
    return SYSTEMS.get(name, DEFAULT)


def reports_usage(request: JsonObject, system: System) -> bool:
    """Return whether the response reports usage; for a stream, some systems do so only on request."""
    if not request.get("stream") or not system.usage_only_if_asked:
        return True
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def chunks(completion: JsonObject, system: System, request: JsonObject) -> list[JsonObject]:
    """Cut a completion into the payloads of a stream's events, with its choices interleaved."""
    lanes = [list(_chunk_choices(choice, system)) for choice in completion["choices"]]
    not_in_head = {"choices", "usage"} | system.late_fields
    head = {name: value for name, value in completion.items() if name not in not_in_head}
    head["object"] = "chat.completion.chunk"
    events = [{**head, "choices": [choice]} for row in zip_longest(*lanes) for choice in row if choice is not None]
    if reports_usage(request, system):
        _place_usage(events, head, completion["usage"], system.usage_place)
    events[-1].update({name: value for name, value in completion.items() if name in system.late_fields})
    return events


def fragments(text: str | None) -> list[str]:
    """Cut a text into pieces as a model generates them; joined, they are the text."""
    return [piece.group() for piece in _FRAGMENT.finditer(text or "")]


def _chunk_choices(choice: JsonObject, system: System) -> Iterator[JsonObject]:
    message, logprobs = choice["message"], choice.get(system.logprobs_field)
    remaining = {name: iter(entries) for name, entries in (logprobs or {}).items() if entries}
    empty = {system.logprobs_field: None} if system.spells_nulls else {}
    yield {"index": choice["index"], "delta": _first_delta(message, system), **empty, "finish_reason": None}
    for name, value in message.items():
        for delta in _deltas(name, value):
            entry = (
                {**dict.fromkeys(logprobs), name: [next(remaining[name])]} if logprobs and name in remaining else None
            )
            scored = {system.logprobs_field: entry} if entry else empty
            yield {"index": choice["index"], "delta": delta, **scored, "finish_reason": None}
    sent_before = ("index", "message", system.logprobs_field)
    end = {name: value for name, value in choice.items() if name not in sent_before}
    yield {"index": choice["index"], "delta": {}, **empty, **end}


def _first_delta(message: JsonObject, system: System) -> JsonObject:
    nullable: tuple[str, ...] = ("content", "refusal") if system.spells_nulls else ()
    opening = {name: "" if name == "content" and message[name] is not None else None for name in nullable}
    return {"role": message["role"], **opening}


def _deltas(name: str, value: Any) -> Iterator[JsonObject]:
    """Yield the deltas that build one field of a message: texts and arguments in pieces, everything else whole."""
    if name == "role" or value is None:
        return
    if isinstance(value, str):
        yield from ({name: part} for part in fragments(value) or [""])
    elif name == "function_call":
        yield {name: {**value, "arguments": ""}}
        yield from ({name: {"arguments": part}} for part in _pieces(value["arguments"]))
    elif name == "tool_calls":
        for index, call in enumerate(value):
            yield {name: [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]}
            parts = _pieces(call["function"]["arguments"])
            yield from ({name: [{"index": index, "function": {"arguments": part}}]} for part in parts)
    else:
        yield {name: value}


def _pieces(arguments: str) -> list[str]:
    return [arguments[at : at + ARGUMENT_PIECE] for at in range(0, len(arguments), ARGUMENT_PIECE)]


def _place_usage(events: list[JsonObject], head: JsonObject, usage: JsonObject, place: UsagePlace) -> None:
    match place:
        case UsagePlace.OWN_EVENT:
            for event in events:
                event["usage"] = None
            events.append({**head, "choices": [], "usage": usage})
        case UsagePlace.OWN_EVENT_WITH_CHOICE:
            choice = {"index": 0, "delta": {}, "finish_reason": None}
            events.append({**head, "choices": [choice], "usage": usage})
        case UsagePlace.WITH_FINISH:
            events[-1]["usage"] = usage
        case UsagePlace.EVERY_CHUNK:
            prompt, completed = usage["prompt_tokens"], usage["completion_tokens"]
            for position, event in enumerate(events):
                so_far = min(position, completed)
                event["usage"] = {**usage, "completion_tokens": so_far, "total_tokens": prompt + so_far}
            events[-1]["usage"] = usage

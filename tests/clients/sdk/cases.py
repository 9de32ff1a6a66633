"""The cases for the SDKs' programs: each is a request to one system, sent with one of the SDK's methods.

A case goes to the program as JSON. Its name, which the request carries as `user`, identifies it in the recording. The
five systems are the built-in provider's; the names of the methods are keys of tables in the programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from tapeline.pipeline.demo import ANSWERS, SYSTEMS, CannedAnswer, JsonObject, Pace, ToolCall
from tapeline.pipeline.demo.answers import Answers, Choice

HOSTS = {system.name: host for host, system in SYSTEMS.items()}
# The systems that require a key.
LOCKED = tuple(name for name, host in HOSTS.items() if SYSTEMS[host].without_key)
MESSAGE = {"role": "user", "content": "Alice and Bob are going to a science fair on 14 March 2026."}
# The number of events that a client reads from a stream that then pauses, before it leaves.
LEAVES_AFTER = 6
_SILENCE_MS = 60_000.0

_PROPERTIES = {"city": {"type": "string"}, "unit": {"type": "string"}}
_WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": _PROPERTIES}}
TOOLS = [{"type": "function", "function": _WEATHER}]
_EVENT = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "date": {"type": "string"},
        "participants": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "date", "participants"],
    "additionalProperties": False,
}
EVENT_FORMAT = {"type": "json_schema", "json_schema": {"name": "event", "strict": True, "schema": _EVENT}}

_USAGE = {"stream_options": {"include_usage": True}}
_LOGPROBS = {"logprobs": True, "top_logprobs": 2}
# The built-in provider's models, and two more.
_ONE_TOOL = Choice(tool_calls=(ToolCall("call_1", "get_weather", '{"city": "Paris"}'),), finish_reason="tool_calls")
MODELS: Answers = MappingProxyType(
    {model: tuple(replace(turn, pace=Pace(0, 0)) for turn in turns) for model, turns in ANSWERS.items()}
    | {
        "one-tool": (CannedAnswer("a single tool call", (_ONE_TOOL,), pace=Pace(0, 0)),),
        "silent": (
            CannedAnswer(
                "a stream that falls silent",
                (Choice("One two three four five six seven eight nine ten."),),
                pace=Pace(0, 0, stall_at=LEAVES_AFTER, stall=_SILENCE_MS),
            ),
        ),
    }
)

REQUESTS: dict[str, JsonObject] = {
    "plain": {"model": "gpt-4o-mini", **_USAGE},
    "usage not requested": {"model": "gpt-4o-mini"},
    "reasoning": {"model": "deepseek-reasoner", **_USAGE},
    "a tool": {"model": "one-tool", "tools": TOOLS, **_USAGE},
    "parallel tools": {"model": "gpt-4o", "tools": TOOLS, "parallel_tool_calls": True, **_USAGE},
    "tool with content": {"model": "gpt-5", "tools": TOOLS, **_USAGE},
    "function": {"model": "gpt-3.5-turbo", "functions": [_WEATHER], "function_call": "auto", **_USAGE},
    "three choices": {"model": "qwen3", "n": 3, **_USAGE},
    "JSON schema": {"model": "gpt-4.1", "response_format": EVENT_FORMAT, **_USAGE},
    "refusal": {"model": "gpt-4.1-mini", **_USAGE},
    "annotations": {"model": "gpt-4o-search-preview", **_USAGE},
    "filtered": {"model": "gpt-4.1-nano", **_USAGE},
    "cut by length": {"model": "gpt-4o-mini", "max_tokens": 2, **_USAGE},
    "log probabilities": {"model": "gpt-4o-mini", **_LOGPROBS, **_USAGE},
    "many scripts, compressed": {"model": "llama-3.3-70b", **_USAGE},
}
# Requests that get another status than 200.
REFUSED: dict[str, JsonObject] = {
    "rate limit": {"model": "demo-429"},
    "no money": {"model": "demo-402"},
    "server error": {"model": "demo-500"},
    "overload": {"model": "demo-503"},
    "unknown model": {"model": "gpt-4.5"},
    "bad value": {"model": "gpt-4o-mini", "temperature": 2.5},
}
# Streams that do not reach their end, by the outcome to be recorded.
CUT: dict[str, JsonObject] = {
    "stream_error": {"model": "demo-error-event"},
    "truncated": {"model": "demo-truncated"},
    "upstream_aborted": {"model": "demo-reset"},
}
# Requests without a key, and streams that the client leaves; the method decides how.
KEYLESS: dict[str, JsonObject] = {"no key": {"model": "gpt-4o-mini"}}
LEFT: dict[str, JsonObject] = {"left": {"model": "silent"}}
# Methods that stream have one of these words in their names; all others request a whole response.
_STREAMING = ("streamed", "helper", "left")


@dataclass(frozen=True)
class Case:
    """One request, sent with one method."""

    system: str
    request_name: str
    method: str
    parameters: JsonObject

    @property
    def name(self) -> str:
        return f"{self.system}, {self.request_name}, {self.method}"

    @property
    def response_name(self) -> str:
        """The name of the provider's response, which depends on streaming but not on the method."""
        name = f"{self.system}, {self.request_name}"
        return name if self.is_streamed else f"{name}, not streamed"

    @property
    def is_streamed(self) -> bool:
        return any(word in self.method for word in _STREAMING)

    def as_json(self) -> JsonObject:
        """Return the case as the program gets it."""
        host = HOSTS[self.system]
        parameters = {
            name: value for name, value in self.parameters.items() if name != "stream_options" or self.is_streamed
        }
        return {
            "base_url": f"http://{host}{SYSTEMS[host].base_path}",
            "method": self.method,
            "leaves_after": LEAVES_AFTER,
            "request": {"messages": [MESSAGE], "user": self.name, **parameters},
        }


def cases(requests: dict[str, JsonObject], methods: Iterable[str], systems: Iterable[str] = tuple(HOSTS)) -> list[Case]:
    """Return a case for each request to each system with each method."""
    return [Case(system, name, method, requests[name]) for system, name, method in product(systems, requests, methods)]

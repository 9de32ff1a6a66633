"""JSON Lines for OpenAI's supervised fine-tuning: what was asked, with the answer as its last message.

https://platform.openai.com/docs/api-reference/fine-tuning/chat-input

An answer to learn from is one that came whole: of the others nothing is made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .selection import REDACTED, Count, Exchange, json_line, reason_against_request

Object = dict[str, Any]
#: Finish reasons of an answer that its model ended.
WHOLE = ("stop", "tool_calls")
NO_WHOLE_ANSWER = "without a whole answer"
#: What an assistant's message may hold; fine-tuning refuses others.
_MESSAGE_FIELDS = ("content", "refusal", "tool_calls", "function_call")
_CALL_FIELDS = ("id", "type", "function", "custom")
#: What else of the request belongs to an example.
_REQUEST_FIELDS = ("tools", "parallel_tool_calls", "functions")


def lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line an exchange with a whole answer; of several choices the first counts."""
    for exchange in exchanges:
        answer = _answer(exchange)
        reason = reason_against_request(exchange) or _reason_against(exchange, answer)
        if reason is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        request = exchange.request
        example = {"messages": [*request["messages"], answer]}
        example |= {name: request[name] for name in _REQUEST_FIELDS if request.get(name) is not None}
        yield json_line(example)


def _reason_against(exchange: Exchange, answer: Object | None) -> str | None:
    if answer is None:
        return NO_WHOLE_ANSWER
    return REDACTED if exchange.row["response_redactions"] else None


def _answer(exchange: Exchange) -> Object | None:
    """The answer as a message that can be learned from; None where it is not whole."""
    row = exchange.row
    if row["outcome"] != "complete" or row["reassembly_problems"] or not isinstance(exchange.response, dict):
        return None
    choices = exchange.response.get("choices")
    first = next((one for one in choices or () if isinstance(one, dict) and one.get("index", 0) == 0), None)
    message = first.get("message") if first else None
    if not isinstance(message, dict) or first is None or first.get("finish_reason") not in WHOLE:
        return None
    said = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name)}
    if not said:
        return None
    if isinstance(said.get("tool_calls"), list):
        said["tool_calls"] = [_only_call_fields(call) for call in said["tool_calls"]]
    return {"role": "assistant", **said}


def _only_call_fields(call: Any) -> Any:
    return {name: call[name] for name in _CALL_FIELDS if name in call} if isinstance(call, dict) else call

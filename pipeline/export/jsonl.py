"""JSON Lines: pairs of request and response, examples for fine-tuning, and requests for the Batch API.

https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
https://platform.openai.com/docs/api-reference/batch/request-input
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..apis.registry import api_of
from ..reports.exchange_text import document
from ..wire.json_text import JsonObject
from .selection import NOT_WHOLE, REDACTED, Count, Exchange, json_line, reason_against_request

#: Finish reasons of an answer that its model ended.
WHOLE = ("stop", "tool_calls")
NO_WHOLE_ANSWER = "without a whole answer"
#: What an assistant's message may hold; fine-tuning refuses others.
_MESSAGE_FIELDS = ("content", "refusal", "tool_calls", "function_call")
_CALL_FIELDS = ("id", "type", "function", "custom")
#: What else of the request belongs to an example.
_REQUEST_FIELDS = ("tools", "parallel_tool_calls", "functions")
# How an answer is delivered, which a batch decides.
_OF_DELIVERY = ("stream", "stream_options")


def pair_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line an exchange; none is left out."""
    for exchange in exchanges:
        count.exported += 1
        yield json_line(document(exchange.row, exchange.request, exchange.response))


def finetune_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line an exchange with a whole answer; of several choices the first counts."""
    for exchange in exchanges:
        answer = _learnable_message(exchange)
        reason = reason_against_request(exchange) or _reason_against_learning(exchange, answer)
        if reason is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        request = exchange.request
        example = {"messages": [*request["messages"], answer]}
        example |= {name: request[name] for name in _REQUEST_FIELDS if request.get(name) is not None}
        yield json_line(example)


def _reason_against_learning(exchange: Exchange, answer: JsonObject | None) -> str | None:
    if answer is None:
        return NO_WHOLE_ANSWER
    return REDACTED if exchange.row["response_redactions"] else None


def _learnable_message(exchange: Exchange) -> JsonObject | None:
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


def batch_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line a request that can be sent as it was; its `custom_id` is the exchange's id."""
    for exchange in exchanges:
        if (reason := _reason_against_batch(exchange)) is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        body = {name: value for name, value in exchange.request.items() if name not in _OF_DELIVERY}
        url = api_of(exchange.row).batch_url
        line = {"custom_id": exchange.row["exchange_id"], "method": "POST", "url": url, "body": body}
        yield json_line(line)


def _reason_against_batch(exchange: Exchange) -> str | None:
    reason = reason_against_request(exchange)
    if reason is None and not isinstance(exchange.request.get("model"), str):
        return NOT_WHOLE
    return reason

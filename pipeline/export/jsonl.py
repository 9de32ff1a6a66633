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
from .selection import INCOMPLETE_REQUEST, REDACTED, Count, Exchange, json_line, reason_against_request

#: Finish reasons of a response that the model itself ended.
COMPLETE = ("stop", "tool_calls")
NO_COMPLETE_RESPONSE = "without a complete response"
#: Fields of an assistant's message that fine-tuning accepts.
_MESSAGE_FIELDS = ("content", "refusal", "tool_calls", "function_call")
_CALL_FIELDS = ("id", "type", "function", "custom")
#: Other fields of the request that belong to an example.
_REQUEST_FIELDS = ("tools", "parallel_tool_calls", "functions")
# Fields about the delivery of a response; a batch has its own.
_DELIVERY_FIELDS = ("stream", "stream_options")


def pair_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """Yield a line for each exchange; none is left out."""
    for exchange in exchanges:
        count.exported += 1
        yield json_line(document(exchange.row, exchange.request, exchange.response))


def finetune_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """Yield a line for each exchange with a complete response; of several choices the first counts."""
    for exchange in exchanges:
        message = _learnable_message(exchange)
        reason = reason_against_request(exchange) or _reason_against_learning(exchange, message)
        if reason is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        request = exchange.request
        example = {"messages": [*request["messages"], message]}
        example |= {name: request[name] for name in _REQUEST_FIELDS if request.get(name) is not None}
        yield json_line(example)


def _reason_against_learning(exchange: Exchange, message: JsonObject | None) -> str | None:
    if message is None:
        return NO_COMPLETE_RESPONSE
    return REDACTED if exchange.row["response_redactions"] else None


def _learnable_message(exchange: Exchange) -> JsonObject | None:
    """Return the response as a message for an example; None where it is incomplete."""
    row = exchange.row
    if row["outcome"] != "complete" or row["reassembly_problems"] or not isinstance(exchange.response, dict):
        return None
    choices = exchange.response.get("choices")
    first = next((choice for choice in choices or () if isinstance(choice, dict) and choice.get("index", 0) == 0), None)
    message = first.get("message") if first else None
    if not isinstance(message, dict) or first is None or first.get("finish_reason") not in COMPLETE:
        return None
    fields = {name: message[name] for name in _MESSAGE_FIELDS if message.get(name)}
    if not fields:
        return None
    if isinstance(fields.get("tool_calls"), list):
        fields["tool_calls"] = [_only_call_fields(call) for call in fields["tool_calls"]]
    return {"role": "assistant", **fields}


def _only_call_fields(call: Any) -> Any:
    return {name: call[name] for name in _CALL_FIELDS if name in call} if isinstance(call, dict) else call


def batch_lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """Yield a line for each request that can be sent as it was; its `custom_id` is the exchange's id."""
    for exchange in exchanges:
        if (reason := _reason_against_batch(exchange)) is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        body = {name: value for name, value in exchange.request.items() if name not in _DELIVERY_FIELDS}
        url = api_of(exchange.row).batch_url
        line = {"custom_id": exchange.row["exchange_id"], "method": "POST", "url": url, "body": body}
        yield json_line(line)


def _reason_against_batch(exchange: Exchange) -> str | None:
    reason = reason_against_request(exchange)
    if reason is None and not isinstance(exchange.request.get("model"), str):
        return INCOMPLETE_REQUEST
    return reason

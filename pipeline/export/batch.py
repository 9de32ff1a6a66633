"""JSON Lines for OpenAI's Batch API: the recorded requests, to be asked again.

https://platform.openai.com/docs/api-reference/batch/request-input
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .selection import NOT_WHOLE, Count, Exchange, json_line, reason_against_request

URL = "/v1/chat/completions"
# How an answer is delivered, which a batch decides.
_OF_DELIVERY = ("stream", "stream_options")


def lines(exchanges: Iterable[Exchange], count: Count) -> Iterator[str]:
    """A line a request that can be sent as it was; its `custom_id` is the exchange's id."""
    for exchange in exchanges:
        if (reason := _reason_against(exchange)) is not None:
            count.left_out[reason] += 1
            continue
        count.exported += 1
        body = {name: value for name, value in exchange.request.items() if name not in _OF_DELIVERY}
        line = {"custom_id": exchange.row["exchange_id"], "method": "POST", "url": URL, "body": body}
        yield json_line(line)


def _reason_against(exchange: Exchange) -> str | None:
    reason = reason_against_request(exchange)
    if reason is None and not isinstance(exchange.request.get("model"), str):
        return NOT_WHOLE
    return reason

"""Prints one exchange for people: in full for `show`, in a line for `tail`.

Control characters of foreign text are made visible, and its lines are indented: it cannot act on the terminal or look
like Tapeline's own lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..apis.rows import WarehouseRow
from ..wire.json_text import JsonObject, dumps
from ..wire.terminal_text import one_line, visible
from .render import cell

_TIMES = (
    ("connect_us", "connecting took"),
    ("tls_us", "TLS handshake took"),
    ("request_sent_us", "request read"),
    ("response_headers_us", "response headers"),
    ("first_byte_us", "first byte"),
    ("first_event_us", "first event"),
    ("first_token_us", "first token"),
    ("first_reasoning_us", "first reasoning"),
    ("first_content_us", "first content"),
    ("first_tool_call_us", "first tool call"),
    ("last_token_us", "last token"),
    ("ended_us", "end"),
)
_TOKENS = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "total_tokens",
)
# Columns that request and response are made from, or that only loading needs.
_SPOKEN = (
    "choices",
    "request_params",
    "request_text",
    "response_extra",
    "response_text",
    "message_ids",
    "history_keys",
    "answer_keys",
)
# The end of an id differs between exchanges; its start is the time.
_ID_CHARACTERS = 8
_MODEL_CHARACTERS = 18
_TAIL = "{time:<8} {id:<8} {model:<18} {status:>6} {tokens:>11} {ttft:>7} {cost:>9}  {end}"
TAIL_HEADING = _TAIL.format(
    time="time",
    id="id",
    model="model",
    status="status",
    tokens="tokens",
    ttft="ttft ms",
    cost="cost USD",
    end="end",
)


def tail_line(row: WarehouseRow) -> str:
    """Return an exchange in one line, under `TAIL_HEADING`; a complete one ends with its finish reasons."""
    reasons = dict.fromkeys(choice["finish_reason"] or "–" for choice in row["choices"] or [])
    return _TAIL.format(
        time=row["started_at"].strftime("%H:%M:%S"),
        id=row["exchange_id"][-_ID_CHARACTERS:],
        model=one_line(row["model"] or row["response_model"] or "–")[:_MODEL_CHARACTERS],
        status=cell("", row["status_code"]),
        tokens=f"{cell('', row['prompt_tokens'])}/{cell('', row['completion_tokens'])}",
        ttft=_whole_milliseconds(row["first_token_us"]),
        cost=cell("cost_usd", row["cost_usd"])[:9],
        end=one_line(", ".join(reasons)) if row["outcome"] == "complete" else row["outcome"],
    )


def describe(row: WarehouseRow, request: Any, response: Any) -> str:
    """Return an exchange in full, as text."""
    return visible("\n".join(_lines(row, request, response)))


def document(row: WarehouseRow, request: Any, response: Any) -> JsonObject:
    """Return an exchange as one JSON object: request, response and measurements."""
    measured: JsonObject = {name: value for name, value in row.items() if name not in _SPOKEN}
    measured["started_at"] = row["started_at"].isoformat()
    return {"request": request, "response": response, "exchange": measured}


def _lines(row: WarehouseRow, request: Any, response: Any) -> Iterator[str]:
    yield f"exchange  {row['exchange_id']}  run {one_line(row['run'])}"
    yield f"when      {row['started_at'].isoformat(sep=' ')}"
    url = f"{row['scheme']}://{row['host']}:{row['port']}{row['path']}"
    yield f"where     POST {one_line(url)}  ({one_line(row['provider'])})"
    status = "no answer" if row["status_code"] is None else f"status {row['status_code']}"
    detail = f": {row['outcome_detail']}" if row["outcome_detail"] else ""
    yield f"how       {status}, {row['outcome']}{one_line(detail)}"
    if row["parent_exchange_id"]:
        yield f"goes on   from {row['parent_exchange_id']}, in conversation {row['conversation_id']}"
    if row["error_message"]:
        error = f"{row['error_type'] or ''} {row['error_message']}"
        yield f"error     {_indented(error)}"
    columns: Mapping[str, Any] = row
    tokens = ", ".join(f"{name.replace('_', ' ')} {columns[name]:,}" for name in _TOKENS if columns[name] is not None)
    yield f"usage     {tokens or 'not reported'} ({row['usage_source']})"
    yield from _cost(row)
    for problem in row["reassembly_problems"] or []:
        yield f"problem   {one_line(problem)}"
    yield ""
    yield from _conversation(request)
    yield ""
    yield from _answer(row, response)
    yield ""
    yield "timing, ms"
    for column, name in _TIMES:
        if columns[column] is not None:
            yield f"  {name:<18} {_milliseconds(columns[column]):>10}"
    if row["event_offsets_us"]:
        yield f"  {'events':<18} {len(row['event_offsets_us']):>10,}"


def _cost(row: WarehouseRow) -> Iterator[str]:
    """Return the cost by the prices of its time, and the provider's own figure."""
    cost = "not known" if row["cost_usd"] is None else f"{cell('cost_usd', row['cost_usd'])} USD"
    if row["cost_status"] == "partial":
        cost = f"at least {cell('cost_usd', row['known_cost_usd'])} USD"
    price = f"{row['price_name']}, {row['price_source']} {row['price_version']}" if row["price_name"] else None
    about = "; ".join(part for part in (row["cost_status"], row["cost_note"], price) if part)
    yield f"cost      {cost} ({one_line(about)})"
    if row["reported_cost"] is not None:
        yield f"reported  {cell('reported_cost', row['reported_cost'])} USD ({row['reported_cost_source']})"


def _conversation(request: Any) -> Iterator[str]:
    if not isinstance(request, dict):
        yield f"request   {_indented(request)}"
        return
    messages = request.get("messages")
    elsewhere = ("tools", "functions", *(("messages",) if isinstance(messages, list) else ()))
    yield f"request   {dumps({name: value for name, value in request.items() if name not in elsewhere})}"
    for message in messages if isinstance(messages, list) else ():
        yield from _message(message)


def _answer(row: WarehouseRow, response: Any) -> Iterator[str]:
    if not isinstance(response, dict) or not isinstance(response.get("choices"), list):
        yield f"answer    {_indented(response if isinstance(response, str | None) else dumps(response))}"
        return
    choices = row["choices"] or []
    for choice in choices:
        index = f"choice {choice['index']}, " if len(choices) > 1 else ""
        yield f"answer    {index}finish reason {one_line(choice['finish_reason'] or '–')}"
        if choice["reasoning"]:
            yield f"  reasoning: {_indented(choice['reasoning'])}"
        if choice["content"]:
            yield f"  {_indented(choice['content'])}"
        if choice["refusal"]:
            yield f"  refusal: {_indented(choice['refusal'])}"
        for call in choice["tool_calls"] or []:
            yield _indented(f"  tool call {call['id'] or ''} {call['name']}({call['arguments']})")


def _message(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"  {dumps(message)}"
        return
    content = message.get("content")
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    yield _indented(f"  {message.get('role', '?')}: {content if isinstance(content, str) else dumps(content)}")
    if rest:
        yield f"    {dumps(rest)}"


def _indented(text: Any) -> str:
    """Indent all lines but the first further than Tapeline's own lines."""
    return str(text).replace("\n", "\n    ")


def _milliseconds(microseconds: int | None) -> str:
    return cell("", None if microseconds is None else microseconds / 1000)


def _whole_milliseconds(microseconds: int | None) -> str:
    return cell("", None if microseconds is None else round(microseconds / 1000))

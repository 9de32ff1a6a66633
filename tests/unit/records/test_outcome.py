"""The outcome of an exchange, from what was seen of both sides."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.support.journals.captured import IN_ORDER, JSON_HEADERS, STOPPED, broken_off, captured, row_of

from tapeline.pipeline.dataset.schema import OUTCOMES
from tapeline.pipeline.records.captured import CapturedExchange

PART = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no"}}\n\n'
COMPLETION = b'{"id":"c","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'

CLIENT_GONE = broken_off(client_connected=False, server_connected=True, error="Client disconnected.")
SERVER_GONE = broken_off(error="Server disconnected.")
NOT_REACHED = broken_off(server_reached=False, error="Connection refused")
# A reset HTTP/2 stream leaves both connections open.
CANCELLED = broken_off(server_connected=True, error="stream reset by the client (CANCEL)")
RESET = broken_off(server_connected=True, error="stream reset by the server (INTERNAL_ERROR)")
CANCELLED_BY_SERVER = broken_off(server_connected=True, error="stream reset by the server (CANCEL)")
RESET_BY_CLIENT = broken_off(server_connected=True, error="stream reset by the client (STREAM_CLOSED)")
# mitmproxy without our fixes writes "by client" for either side.
CANCELLED_BY_EITHER = broken_off(server_connected=True, error="stream reset by client (CANCEL)")
RESET_BY_EITHER = broken_off(server_connected=True, error="stream reset by client (INTERNAL_ERROR)")
LEFT_BEFORE_CONNECT = broken_off(client_connected=False, server_reached=False, error="Client disconnected.")

CASES: dict[str, list[tuple[str, CapturedExchange]]] = {
    "complete": [
        ("stream in order", captured(PART, FINISH, USAGE, DONE)),
        ("finished without [DONE]", captured(PART, FINISH)),
        ("[DONE] without finish reason", captured(PART, DONE)),
        ("no stream", captured(COMPLETION, headers=JSON_HEADERS)),
        ("a response of another kind", captured(b'{"object":"speech","speech":{}}', headers=JSON_HEADERS)),
        ("client left after [DONE]", captured(PART, FINISH, DONE, ending=CLIENT_GONE)),
        ("client left after [DONE] without finish reason", captured(PART, DONE, ending=CLIENT_GONE)),
        ("client left after the finish reason", captured(PART, FINISH, ending=CLIENT_GONE)),
        ("server left after [DONE]", captured(PART, FINISH, DONE, ending=SERVER_GONE)),
        ("recorder stopped after [DONE]", captured(PART, FINISH, DONE, ending=STOPPED)),
        ("recorder killed after [DONE]", captured(PART, FINISH, DONE, ending=None)),
        ("recorder killed after all of the JSON", captured(COMPLETION, headers=JSON_HEADERS, ending=None)),
        ("[DONE] in a coding", captured(gzip.compress(PART + DONE), headers=[["content-encoding", "gzip"]])),
        ("another 2xx", captured(COMPLETION, status=201, headers=JSON_HEADERS)),
    ],
    "http_error": [
        ("401", captured(b'{"error":{"message":"no key"}}', status=401, headers=JSON_HEADERS)),
        ("redirection", captured(b"", status=307, headers=[])),
        ("503 with HTML", captured(b"<html>", status=503, headers=[["content-type", "text/html"]])),
        ("server left within", captured(b'{"err', status=500, headers=JSON_HEADERS, ending=SERVER_GONE)),
        ("client left within", captured(status=429, headers=JSON_HEADERS, ending=CLIENT_GONE)),
        ("an event stream", captured(ERROR, status=500)),
    ],
    "stream_error": [
        ("event", captured(PART, ERROR)),
        ("event, then [DONE]", captured(PART, ERROR, DONE)),
        ("event at once", captured(ERROR)),
        ("client left after it", captured(PART, ERROR, ending=CLIENT_GONE)),
        ("server left after it", captured(PART, ERROR, ending=SERVER_GONE)),
        ("event of plain text", captured(PART, b"event: error\ndata: overloaded\n\n")),
        ("JSON", captured(b'{"detail":"no"}', headers=JSON_HEADERS)),
        ("JSON as event stream", captured(b'{"error":"no"}')),
        ("JSON beside choices", captured(b'{"choices":[],"error":{"code":5}}', headers=JSON_HEADERS)),
    ],
    "truncated": [
        ("no finish reason", captured(PART)),
        ("empty finish reason", captured(PART.replace(b"}]}", b',"finish_reason":""}]}'))),
        ("one choice of two", captured(PART, FINISH, PART.replace(b'"index":0', b'"index":1'))),
        ("within an event", captured(PART, FINISH[:30])),
    ],
    "invalid": [
        ("nothing", captured()),
        ("HTML", captured(b"<html>", headers=[["content-type", "text/html"]])),
        ("HTML as event stream", captured(b"<html>")),
        ("half of the JSON", captured(COMPLETION[:-5], headers=JSON_HEADERS)),
        ("[DONE] alone", captured(DONE)),
        ("unknown coding", captured(COMPLETION, headers=[["content-encoding", "compress"]])),
        ("another JSON", captured(b'{"data":[]}', headers=JSON_HEADERS)),
    ],
    "client_aborted": [
        ("within the stream", captured(PART, ending=CLIENT_GONE)),
        ("before the response", captured(status=None, ending=CLIENT_GONE)),
        ("before the server was reached", captured(status=None, ending=LEFT_BEFORE_CONNECT)),
        ("stream cancelled", captured(PART, ending=CANCELLED)),
        ("stream reset by the client", captured(PART, ending=RESET_BY_CLIENT)),
        ("stream cancelled, by mitmproxy alone", captured(PART, ending=CANCELLED_BY_EITHER)),
        ("within the JSON", captured(COMPLETION[:-5], headers=JSON_HEADERS, ending=CLIENT_GONE)),
    ],
    "upstream_aborted": [
        ("within the stream", captured(PART, ending=SERVER_GONE)),
        ("before the response", captured(status=None, ending=SERVER_GONE)),
        ("stream reset", captured(PART, ending=RESET)),
        ("stream cancelled by the server", captured(PART, ending=CANCELLED_BY_SERVER)),
        ("stream reset, by mitmproxy alone", captured(PART, ending=RESET_BY_EITHER)),
        ("within the JSON", captured(COMPLETION[:-5], headers=JSON_HEADERS, ending=SERVER_GONE)),
    ],
    "unreachable": [("refused", captured(status=None, ending=NOT_REACHED))],
    "recorder_stopped": [
        ("within the stream", captured(PART, ending=STOPPED)),
        ("killed within the stream", captured(PART, ending=None)),
        ("killed before the response", captured(status=None, ending=None)),
        ("stopped before the response", captured(status=None, ending=STOPPED)),
    ],
}


def test_every_outcome_has_cases() -> None:
    assert set(CASES) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("outcome", "exchange"),
    [pytest.param(outcome, case, id=f"{outcome}: {name}") for outcome in CASES for name, case in CASES[outcome]],
)
def test_outcome(outcome: str, exchange: CapturedExchange) -> None:
    assert row_of(exchange)["outcome"] == outcome


@pytest.mark.parametrize(
    ("exchange", "detail"),
    [
        (captured(PART, FINISH, DONE), None),
        (captured(PART, ending=SERVER_GONE), "Server disconnected."),
        (captured(status=None, ending=NOT_REACHED), "Connection refused"),
        (captured(PART, ending=None), None),
        (captured(b"<html>"), "no chat completion in the body"),
        (captured(b"{}", headers=[["content-encoding", "compress"]]), "unknown content coding 'compress'"),
        (captured(PART, ending=broken_off(error="\ud800")), "\ufffd"),
    ],
)
def test_the_reason_of_an_outcome(exchange: CapturedExchange, detail: str | None) -> None:
    assert row_of(exchange)["outcome_detail"] == detail


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c", "param": "p"}}, ("t", "c", "m", "p")),
        ({"error": {"message": "m", "code": 402}}, (None, "402", "m", None)),
        ({"error": {"message": None, "type": "t"}}, ("t", None, None, None)),
        ({"error": {"message": ["a", 1]}}, (None, None, '["a",1]', None)),
        ({"error": "X-PAYMENT header is required", "accepts": []}, (None, None, "X-PAYMENT header is required", None)),
        ({"error": 7}, (None, None, "7", None)),
        ({"error": "short", "message": "long", "code": 1}, (None, "1", "long", None)),
        ({"detail": "Not Found"}, (None, None, "Not Found", None)),
        ({"detail": [{"loc": ["body"], "msg": "m"}]}, (None, None, '[{"loc":["body"],"msg":"m"}]', None)),
        ({"object": "error", "message": "m", "type": "t", "code": 400, "param": None}, ("t", "400", "m", None)),
        ([{"error": {"message": "m", "code": 400, "status": "INVALID"}}], (None, "400", "m", None)),
        ({"error": {"message": "a\ud800\0"}}, (None, None, "a\ufffd\0", None)),
        ({"detail": "a\ud800"}, (None, None, "a\ufffd", None)),
        ({"message": "m"}, (None, None, "m", None)),
    ],
)
def test_errors_of_every_shape(body: object, wanted: tuple[str | None, ...]) -> None:
    row = row_of(captured(json.dumps(body).encode(), status=402, headers=JSON_HEADERS))
    assert tuple(row[f"error_{name}"] for name in ("type", "code", "message", "param")) == wanted
    assert json.loads(row["error_raw"]) == body
    assert row["response_text"] is None


def test_an_error_event_that_is_plain_text() -> None:
    row = row_of(captured(b"event: error\ndata: overloaded\n\n"))
    assert (row["error_message"], row["error_raw"]) == ("overloaded", '"overloaded"')


def test_without_an_error_the_columns_are_empty() -> None:
    row = row_of(captured(PART, FINISH))
    assert {row[f"error_{name}"] for name in ("type", "code", "message", "param", "raw")} == {None}


def test_an_exchange_that_ended_in_order_has_its_end_time() -> None:
    assert row_of(captured(PART, FINISH, ending=IN_ORDER))["ended_us"] == 900

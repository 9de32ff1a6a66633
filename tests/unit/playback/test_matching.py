"""The recorded exchange that answers a request, and the explanation where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.journals.captured import captured

from tapeline.pipeline.playback.matching import (
    IncomingRequest,
    RecordedRequest,
    RecordedRequests,
    explain,
    read_incoming,
    recorded_request,
)
from tapeline.pipeline.records.record import make_record
from tapeline.pipeline.wire.json_text import dumps
from tapeline.pipeline.wire.redaction import Redactor, unsalted

HOST, PATH = "api.openai.com", "/v1/chat/completions"
SECRET = "ghp_" + "a1B2" * 9


def request(*texts: str, **parameters: Any) -> dict[str, Any]:
    messages = [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(texts)]
    return {"model": "m", "messages": messages, **parameters}


def incoming(body: Any, host: str = HOST, path: str = PATH) -> IncomingRequest:
    return read_incoming(body if isinstance(body, bytes) else json.dumps(body).encode(), "", host, path)


def recorded(exchange_id: str, body: Any, **head: Any) -> RecordedRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return recorded_request({**make_record(captured(request=data, **head), "r").row, "exchange_id": exchange_id})


def match(requests: RecordedRequests, body: Any, **where: str) -> str | None:
    row = requests.next_match(incoming(body, **where))
    return None if row is None else row["exchange_id"]


def test_responses_come_in_the_recorded_order_then_the_last_one_again() -> None:
    requests = RecordedRequests([recorded(name, request("Hi")) for name in ("e1", "e2", "e3")])
    assert [match(requests, request("Hi")) for _ in range(5)] == ["e1", "e2", "e3", "e3", "e3"]
    assert match(requests, request("Ho")) is None


def test_a_request_is_the_same_without_its_volatile_fields() -> None:
    requests = RecordedRequests([recorded("e1", request("Hi", user="a", stream=True))])
    assert match(requests, request("Hi", user="b", metadata={"x": 1})) == "e1"
    assert match(requests, request("Hi", seed=1)) is None


def test_the_context_decides_between_equal_requests() -> None:
    requests = RecordedRequests(
        [
            recorded("whole", request("Hi")),
            recorded("streamed", request("Hi", stream=True)),
            recorded("elsewhere", request("Hi"), host="api.aiand.com"),
            recorded(
                "local", request("Hi"), scheme="http", host="localhost", port=8080, path="/openai/chat/completions"
            ),
        ]
    )
    for _ in range(2):
        assert match(requests, request("Hi")) == "whole"
        assert match(requests, request("Hi", stream=True)) == "streamed"
        assert match(requests, request("Hi"), host="api.aiand.com:443") == "elsewhere"
        assert match(requests, request("Hi"), host="localhost:8080") == "local"
        assert match(requests, request("Hi"), host="127.0.0.1:4", path="/openai/chat/completions") == "local"


def test_a_body_that_is_not_json_is_matched_by_its_text() -> None:
    requests = RecordedRequests([recorded("e1", b"{half"), recorded("e2", b"")])
    assert (match(requests, b"{half"), match(requests, b""), match(requests, b"[]")) == ("e1", "e2", None)


def test_a_request_with_a_credential_is_found_under_any_salt() -> None:
    body = request(f"My token is {SECRET}", metadata={"api_key": "k-1"})
    redactor = Redactor(b"salt of another machine")
    row = make_record(captured(request=json.dumps(body).encode()), "r", redactor).row
    kept = redactor.value(body)
    assert SECRET not in dumps(kept)
    requests = RecordedRequests([recorded_request(row, unsalted(dumps(kept)))])
    assert match(requests, body) == "e1"
    assert match(requests, request("My token is none")) is None


def explained(requests: list[RecordedRequest], body: Any, *bodies: Any) -> str:
    texts: dict[str, tuple[str | None, str]] = {}
    for other in bodies:
        contents = incoming(other).request.contents
        texts |= {content.content_id: (content.role, content.text or "") for content in contents}
    known = RecordedRequests(requests)
    return explain(known.nearest(incoming(body)), incoming(body), texts)


def test_other_parameters_are_named_with_both_values() -> None:
    hot, cold = request("Hi", temperature=0.7, user="a"), request("Hi", temperature=0.2, seed=1, user="b")
    text = explained([recorded("e1", request("Ho")), recorded("e2", hot)], cold, hot)
    assert "exchange e2, which has the same messages, but other parameters" in text
    assert "temperature (recorded 0.7, requested 0.2), seed (recorded none, requested 1)." in text
    assert "user" not in text


def test_other_tools_are_named() -> None:
    text = explained([recorded("e1", request("Hi", tools=[{"name": "f"}]))], request("Hi", tools=[{"name": "g"}]))
    assert "tools (other ones)" in text


def test_the_first_message_that_differs_is_shown_where_it_differs() -> None:
    long = "The same beginning, which is long enough to be left out. "
    before, now = request("Hi", "Hello!", long + "And before"), request("Hi", "Hello!", long + "And now")
    text = explained([recorded("e1", request("Ho")), recorded("e2", before)], now, before)
    assert "exchange e2, which has the first 2 of its 3 messages in common. Message 3 differs" in text
    assert 'recorded user: "...to be left out. And before", requested user: "...to be left out. And now"' in text


def test_an_additional_message_is_shown_beside_none() -> None:
    before, now = request("Hi"), request("Hi", "Hello!", temperature=1)
    text = explained([recorded("e1", before)], now, before)
    assert 'Message 2 differs: recorded none, requested assistant: "Hello!". So do parameters: temperature' in text


def test_a_message_that_differs_in_other_fields_says_so() -> None:
    before, now = request("Hi"), {"model": "m", "messages": [{"role": "user", "content": "Hi", "name": "x"}]}
    assert '"Hi" has other fields beside its text' in explained([recorded("e1", before)], now, before)


@pytest.mark.parametrize("body", [request("Hi"), b"{half"])
def test_a_request_without_any_near_one_is_reported_so(body: Any) -> None:
    assert explained([], body) == "Nothing like this request was recorded."

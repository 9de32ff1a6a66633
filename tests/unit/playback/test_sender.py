"""The wait before a retry, as servers ask for it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from http.client import HTTPMessage

import pytest

from tapeline.pipeline.playback.sender import requested_wait

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": format_datetime(NOW.replace(second=30), usegmt=True)}, 30.0),
        ({"Retry-After": format_datetime(NOW.replace(year=2025), usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"x-should-retry": "false", "Retry-After": "1"}, float("inf")),
    ],
)
def test_the_headers_of_a_response_name_the_wait_before_a_retry(headers: dict[str, str], seconds: float | None) -> None:
    message = HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    assert requested_wait(message, NOW) == seconds

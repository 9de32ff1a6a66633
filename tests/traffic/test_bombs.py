"""Small bodies that decode to a gigabyte: they pass unchanged, are recorded as they came, and take little memory.

What is done with them at other sizes is in `test_content_coding` and `test_body_reader`.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from pathlib import Path

import brotli
import pytest
import zstandard

from tapeline.pipeline.apis.body_reader import MAX_EVENTS
from tapeline.pipeline.wire.content_coding import OVER_LIMIT
from tests.support.clients.wire import chat
from tests.support.processes.memory import COMPLETION, Passed, passed

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000
GIGABYTE = 1000 * MEGABYTE
# Beside what a small exchange takes.
MOST_TO_SEAL = 200 * MEGABYTE
MOST_TO_RECORD = 30 * MEGABYTE


def gzip_of(unit: bytes) -> bytes:
    """A gigabyte of something again and again, compressed."""
    compressor = zlib.compressobj(level=9, wbits=31)
    block = unit * (MEGABYTE // len(unit))
    return b"".join(compressor.compress(block) for _ in range(GIGABYTE // MEGABYTE)) + compressor.flush()


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return gzip_of(b"\0")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Passed:
    """What an exchange takes that is nothing special."""
    found = passed(tmp_path_factory.mktemp("small") / "recordings", chat(), COMPLETION)
    assert (found.row["outcome"], found.row["reassembly_problems"]) == ("complete", [])
    return found


def assert_modest(bomb: Passed, small: Passed) -> None:
    assert bomb.sealing_peak - small.sealing_peak < MOST_TO_SEAL
    assert bomb.recorder_peak - small.recorder_peak < MOST_TO_RECORD


@pytest.mark.parametrize(
    ("coding", "content_type", "problem"),
    [
        ("gzip", "application/json", OVER_LIMIT),
        ("gzip", "text/event-stream", "events over the limit: 1"),
        ("gzip, gzip", "application/json", OVER_LIMIT),
        ("br", "application/json", OVER_LIMIT),
        ("zstd", "application/json", OVER_LIMIT),
    ],
)
def test_an_answer_of_a_gigabyte_of_zeros(
    data: Path, zeros: bytes, small: Passed, coding: str, content_type: str, problem: str
) -> None:
    bodies = {
        "gzip": lambda: zeros,
        "gzip, gzip": lambda: gzip.compress(zeros),
        "br": lambda: brotli.compress(bytes(GIGABYTE), quality=5),
        "zstd": lambda: zstandard.compress(bytes(GIGABYTE)),
    }
    bomb = bodies[coding]()
    assert len(bomb) < 2 * MEGABYTE
    found = passed(data, chat(), bomb, content_type=content_type, content_encoding=coding)
    assert (found.row["status_code"], found.row["outcome"]) == (200, "invalid")
    assert found.row["outcome_detail"] == found.row["reassembly_problems"][0] == problem
    assert found.row["response_text"] == "base64:" + base64.b64encode(bomb).decode()
    assert_modest(found, small)


@pytest.mark.parametrize(
    ("unit", "problem"),
    [
        pytest.param(b"data:\n\n\n", f"more than {MAX_EVENTS} events: the rest was not read", id="events without end"),
        pytest.param(b"data: x ", "events over the limit: 1", id="an event without end"),
    ],
)
def test_an_answer_that_is_a_stream_without_end(data: Path, small: Passed, unit: bytes, problem: str) -> None:
    bomb = gzip_of(unit)
    found = passed(data, chat(), bomb, content_type="text/event-stream", content_encoding="gzip")
    assert problem in found.row["reassembly_problems"]
    assert found.row["outcome"] == "invalid"
    assert_modest(found, small)


def test_a_request_of_a_gigabyte_of_zeros(data: Path, zeros: bytes, small: Passed) -> None:
    found = passed(data, zeros, COMPLETION, request_coding="gzip")
    assert found.row["outcome"] == "complete"
    assert found.row["reassembly_problems"] == [f"request: {OVER_LIMIT}"]
    assert found.row["request_text"] == "base64:" + base64.b64encode(zeros).decode()
    assert_modest(found, small)

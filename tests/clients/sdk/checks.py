"""The checks for every case, with either SDK: the SDK, the provider and the recorder must have the same response.

Where the SDK's own assembly differs, the table of deviations must list it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.clients.sdk.deviations import differences, listed
from tests.clients.sdk.session import Seen, kept_headers
from tests.support.clients.reading import joined, recorded_summary, summary

USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
ERROR_FIELDS = ("type", "code", "param")
RENEW = "`python -m tests.clients.sdk` writes the table again; give every unexplained difference a kind"


def check_whole(client: str, seen: Seen) -> None:
    """Check that a complete response is in the dataset as it was sent, and as the SDK has it."""
    row = seen.row
    assert (row["outcome"], row["reassembly_problems"]) == ("complete", [])
    assert seen.recorded == seen.provided
    check_result(client, seen)
    check_usage(seen)
    if "request_id" in seen.result:
        assert seen.result["request_id"] == kept_headers(row)["x-request-id"]


def check_result(client: str, seen: Seen) -> None:
    """Check that the SDK's completion, or its chunks joined, is what was recorded or a listed deviation."""
    if "chunks" in seen.result:
        chunks = joined(seen.result["chunks"])
        assert recorded_summary(seen.row) == summary(chunks)
        assert seen.row["response_id"] == chunks["id"]
    else:
        assert differences(seen.expected(), seen.result) == listed(client, seen.case.response_name), RENEW


def check_usage(seen: Seen) -> None:
    """Check that the usage columns are those of the response; Bifrost reports `billed_usage` where it has no usage."""
    usage = seen.provided.get("usage") or seen.provided.get("extra_fields", {}).get("billed_usage")
    assert {name: seen.row[name] for name in USAGE} == {name: usage.get(name) if usage else None for name in USAGE}
    assert (seen.row["usage_source"] == "absent") == (usage is None)


def check_refused(client: str, seen: Seen, classes: Mapping[int, str]) -> None:
    """Check that an HTTP error is recorded with the fields of the SDK's exception."""
    (row,), raised = seen.rows, seen.result["raised"]
    assert (row["outcome"], row["status_code"]) == ("http_error", raised["status_code"])
    assert raised["class"] == classes[row["status_code"]]
    fields = {name: str(raised[name]) if raised[name] is not None else None for name in ERROR_FIELDS}
    assert fields == {name: row[f"error_{name}"] for name in ERROR_FIELDS}
    assert differences(seen.expected(), seen.result) == listed(client, seen.case.response_name), RENEW


def check_cut(client: str, seen: Seen) -> None:
    """Check that a broken stream is recorded up to the point that the SDK reached, with its outcome."""
    (row,) = seen.rows
    assert row["outcome"] == seen.case.request_name
    check_result(client, seen)


def check_left(seen: Seen) -> None:
    """Check that a client that left is recorded as the one who left, with everything that it had read."""
    (row,) = seen.rows
    assert row["outcome"] == "client_aborted"
    assert recorded_summary(row) == summary(joined(seen.result["chunks"]))

"""What has to hold of every case, whichever SDK asked: the SDK, the provider and the recorder say the same.

Where the SDK's own assembly does not, the table of deviations says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.clients.sdk.deviations import differences, listed
from tests.clients.sdk.session import Seen, kept_headers
from tests.support.clients.reading import joined, recorded_summary, summary

USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
ERROR_FIELDS = ("type", "code", "param")
RENEW = "`python -m tests.clients.sdk` writes the table anew; what it finds unexplained is to be given a kind"


def check_whole(client: str, seen: Seen) -> None:
    """An answer that came whole is in the dataset as it was sent, and as the SDK has it."""
    row = seen.row
    assert (row["outcome"], row["reassembly_problems"]) == ("complete", [])
    assert seen.recorded == seen.provided
    check_told(client, seen)
    check_usage(seen)
    if "request_id" in seen.told:
        assert seen.told["request_id"] == kept_headers(row)["x-request-id"]


def check_told(client: str, seen: Seen) -> None:
    """What the SDK made of the answer is what was recorded, or a listed deviation; of chunks, their simple sum."""
    if "chunks" in seen.told:
        chunks = joined(seen.told["chunks"])
        assert recorded_summary(seen.row) == summary(chunks)
        assert seen.row["response_id"] == chunks["id"]
    else:
        found = differences(seen.expected(), seen.told)
        assert found == listed(client, seen.case.answer), RENEW


def check_usage(seen: Seen) -> None:
    """The usage columns are the answer's; of Bifrost's, where it has no usage, what was billed."""
    usage = seen.provided.get("usage") or seen.provided.get("extra_fields", {}).get("billed_usage")
    assert {name: seen.row[name] for name in USAGE} == {name: usage.get(name) if usage else None for name in USAGE}
    assert (seen.row["usage_source"] == "absent") == (usage is None)


def check_refused(client: str, seen: Seen, classes: Mapping[int, str]) -> None:
    """An HTTP error is recorded with what the SDK's exception tells."""
    (row,), raised = seen.rows, seen.told["raised"]
    assert (row["outcome"], row["status_code"]) == ("http_error", raised["status_code"])
    assert raised["class"] == classes[row["status_code"]]
    told = {name: str(raised[name]) if raised[name] is not None else None for name in ERROR_FIELDS}
    assert told == {name: row[f"error_{name}"] for name in ERROR_FIELDS}
    assert differences(seen.expected(), seen.told) == listed(client, seen.case.answer), RENEW


def check_cut(client: str, seen: Seen) -> None:
    """A stream that broke off is recorded up to where the SDK got it, and with how it ended."""
    (row,) = seen.rows
    assert row["outcome"] == seen.case.ask
    check_told(client, seen)


def check_left(seen: Seen) -> None:
    """A client that left is told from one that was left, and what it had read is recorded."""
    (row,) = seen.rows
    assert row["outcome"] == "client_aborted"
    assert recorded_summary(row) == summary(joined(seen.told["chunks"]))

"""The ids of exchanges: UUIDs of version 7 that sort in the order in which they were made."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from tapeline.addons.tapeline_recorder.capture import uuid7

MOMENT_MS = 1_790_000_000_000


def test_ids_of_one_millisecond_differ_and_sort_in_their_order() -> None:
    ids = [uuid7(MOMENT_MS * 1_000_000) for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == ids


def test_an_id_is_of_version_7_and_begins_with_its_time() -> None:
    made = UUID(uuid7(MOMENT_MS * 1_000_000 + 999_999))
    assert (made.version, made.variant, made.int >> 80) == (7, RFC_4122, MOMENT_MS)


def test_the_same_rest_makes_the_same_id() -> None:
    assert uuid7(0, rest=(1 << 80) - 1) == "00000000-0000-7fff-bfff-ffffffffffff" == uuid7(0, rest=(1 << 80) - 1)

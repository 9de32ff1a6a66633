"""The openai package for node through a real recorder: all systems of the provider, and streams of every quirk.

The SDK, the provider and the recording have the same responses; where the SDK's own assembly differs,
`sdk_deviations.toml` lists the difference and its reason.
"""

from __future__ import annotations

import json

import pytest

from tapeline.pipeline.demo import JsonObject
from tests.clients.sdk.cases import CUT, KEYLESS, LEFT, LOCKED, REFUSED, REQUESTS, Case, cases
from tests.clients.sdk.checks import RENEW, check_cut, check_left, check_refused, check_whole
from tests.clients.sdk.deviations import differences, listed
from tests.clients.sdk.programs import Program, node_program
from tests.clients.sdk.session import Session, converse
from tests.clients.sdk.streams import STREAMS, expected, play
from tests.support.machine.sharing import shared

pytestmark = pytest.mark.slow

CLIENT = "node"
MORE_METHODS = ("raw", "raw streamed", "unread")
WHOLE = [
    *cases(REQUESTS, ("whole", "streamed", "helper")),
    *cases({"parallel tools": REQUESTS["parallel tools"]}, MORE_METHODS),
    *cases({"JSON schema": REQUESTS["JSON schema"]}, ("parsed", "helper parsed")),
]
RUNNING = cases({"parallel tools": REQUESTS["parallel tools"]}, ("tools run", "tools run, streamed"))
FAILING = [
    *cases(REFUSED, ("whole",)),
    *cases({"rate limit": REFUSED["rate limit"]}, ("streamed", "helper")),
    *cases(KEYLESS, ("whole without key",), LOCKED),
]
BROKEN = cases(CUT, ("streamed", "helper"))
LEAVING = cases(LEFT, ("left by break", "left by abort", "helper left"))
CASES = [*WHOLE, *RUNNING, *FAILING, *BROKEN, *LEAVING]
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "APIError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}
BROKEN_CLASSES = {
    ("stream_error", "streamed"): "APIError",
    ("stream_error", "helper"): "APIError",
    ("truncated", "streamed"): None,
    ("truncated", "helper"): "OpenAIError",
    ("upstream_aborted", "streamed"): "TypeError",
    ("upstream_aborted", "helper"): "OpenAIError",
}


@pytest.fixture(scope="module")
def program() -> Program:
    return node_program()


@pytest.fixture(scope="module")
def session(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("session")
    return shared(tmp_path_factory, f"sdk_session_{CLIENT}", lambda: converse(program, CASES, folder))


@pytest.fixture(scope="module")
def played(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, JsonObject]:
    folder = tmp_path_factory.mktemp("played")
    return shared(tmp_path_factory, f"sdk_played_{CLIENT}", lambda: play(program, folder))


def named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", WHOLE, ids=named)
def test_the_completion_of_the_sdk_is_recorded(session: Session, case: Case) -> None:
    (_,) = session[case.name].rows
    check_whole(CLIENT, session[case.name])


@pytest.mark.parametrize("case", RUNNING, ids=named)
def test_each_turn_of_a_tool_run_is_recorded(session: Session, case: Case) -> None:
    seen = session[case.name]
    assert [row["choices"][0]["finish_reason"] for row in seen.rows] == ["tool_calls", "stop"]
    assert [row["message_count"] for row in seen.rows] == [1, 4]
    check_whole(CLIENT, seen)


@pytest.mark.parametrize("case", FAILING, ids=named)
def test_a_refusal_is_recorded_as_the_sdk_raises_it(session: Session, case: Case) -> None:
    check_refused(CLIENT, session[case.name], CLASSES)


@pytest.mark.parametrize("case", BROKEN, ids=named)
def test_a_broken_stream_is_recorded_as_far_as_the_sdk_read_it(session: Session, case: Case) -> None:
    seen = session[case.name]
    check_cut(CLIENT, seen)
    assert seen.result.get("raised", {"class": None})["class"] == BROKEN_CLASSES[case.request_name, case.method]


@pytest.mark.parametrize("case", LEAVING, ids=named)
def test_the_part_that_the_sdk_read_before_it_left_is_recorded(session: Session, case: Case) -> None:
    raised = session[case.name].result.get("raised", {"class": None})["class"]
    assert raised == ("APIUserAbortError" if case.method == "helper left" else None)
    check_left(session[case.name])


@pytest.mark.parametrize("case", [case for case in WHOLE if "parsed" in case.method], ids=named)
def test_the_value_that_the_sdk_parsed_is_the_recorded_text(session: Session, case: Case) -> None:
    seen = session[case.name]
    assert seen.result["parsed"] == json.loads(seen.row["choices"][0]["content"])


@pytest.mark.parametrize("stream", STREAMS)
def test_the_sdk_reads_a_stream_differently_only_as_listed(played: dict[str, JsonObject], stream: str) -> None:
    assert differences(expected(stream), played[stream]) == listed(CLIENT, stream), RENEW

"""`tapeline diff` on recordings: which exchanges are paired, which differences are changes, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import assert_one_clear_line
from tests.support.journals.comparison import CASES, SAME, answer, asked, calls, make_recordings, make_run
from tests.support.journals.journals import NOON_US, MadeUp, make_journal
from tests.support.processes.recorder import query, tapeline_here

pytestmark = pytest.mark.slow

Document = dict[str, Any]
CHANGED_KINDS = {
    "other words": {"text"},
    "cut short": {"finish_reason"},
    "other tool": {"tool_names"},
    "other arguments": {"tool_arguments"},
    "refused": {"refusal"},
    "thought over": {"reasoning"},
    "fewer choices": {"choices"},
    "failed": {"outcome", "status", "error"},
    "hostile": {"text"},
    "beyond": {"text"},
}


def compared(data: Path, base: str, candidate: str, *options: str | Path, code: int = 0) -> Document:
    result = tapeline_here("diff", base, candidate, "--data", data, "--format", "json", *options)
    assert result.returncode == code, result.stderr
    document: Document = json.loads(result.stdout)
    return document


def changed(document: Document) -> dict[str, set[str]]:
    """Return the kinds of change by prompt."""
    return {
        pair["question"].split(" <")[0]: {
            difference["kind"] for difference in pair["differences"] if difference["how"] == "changed"
        }
        for pair in document["differing"]
        if pair["changed"]
    }


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("comparison") / "data"
    make_recordings(data)
    return data


def test_each_kind_of_change_is_found_and_nothing_else(recordings: Path) -> None:
    document = compared(recordings, "before", "after")
    assert changed(document) == CHANGED_KINDS
    assert document["pairs"] == len(CASES) + 6 + SAME
    kinds = {row["kind"]: (row["changed"], row["noise"], row["spelling"]) for row in document["kinds"]}
    assert kinds["text"] == (3, 1, 2)
    assert kinds["tool_arguments"] == (1, 0, 1)


def test_a_recording_does_not_differ_from_itself(recordings: Path) -> None:
    document = compared(recordings, "before", "before", "--fail-on", "any,unpaired,text>0,tokens>0%,total>0%")
    assert (document["pairs"], document["changed"], document["differing"], document["unpaired"]) == (39, 0, [], [])
    assert {figure["verdict"] for figure in document["figures"]} == {"same", "too few pairs"}
    assert {rule["state"] for rule in document["rules"]} == {"held"}


def test_the_reverse_comparison_finds_the_same_changes(recordings: Path) -> None:
    def kinds(document: Document) -> list[tuple[Any, ...]]:
        # Noise depends on BASE alone, so repeated requests are left out.
        return sorted(
            (
                difference["kind"],
                difference["how"],
                difference["choice"],
                difference["amount"],
                *sorted((difference["base"] or "", difference["candidate"] or "")),
            )
            for pair in document["differing"]
            if pair["occurrence"] == 1
            for difference in pair["differences"]
        )

    assert kinds(compared(recordings, "before", "after")) == kinds(compared(recordings, "after", "before"))


def test_exchanges_without_a_partner_are_listed_for_both_sides(recordings: Path) -> None:
    alone = compared(recordings, "before", "after")["unpaired"]
    assert [(exchange["side"], exchange["reason"]) for exchange in alone] == [
        ("base", "only here"),
        ("candidate", "only here"),
    ]
    side_of = {exchange["exchange_id"]: exchange["side"] for exchange in alone}
    rows = query(recordings, "SELECT exchange_id, text FROM messages WHERE text LIKE 'only %'")
    assert {row["text"]: side_of[row["exchange_id"]] for row in rows} == {
        "only before": "base",
        "only after": "candidate",
    }


def test_repeats_are_paired_in_order_and_the_rest_is_listed_with_reasons(data: Path) -> None:
    make_run(data, "a", [asked("x", "one"), asked("x", "two"), asked("y")], 1)
    make_run(data, "b", [asked("x", "one"), asked("x", "two"), asked("x", "three"), asked("z")], 2)
    document = compared(data, "a", "b")
    assert (document["pairs"], document["changed"]) == (2, 0)
    assert [(exchange["side"], exchange["occurrence"], exchange["reason"]) for exchange in document["unpaired"]] == [
        ("base", 1, "only here"),
        ("candidate", 3, "more often here"),
        ("candidate", 1, "only here"),
    ]


def test_differences_that_base_also_has_are_noise_of_every_kind(data: Path) -> None:
    look, wait = answer(calls(("look", '{"at": 1}'))), answer(calls(("wait", "{}")), finish_reason="tool_calls")
    look_again = answer(calls(("look", '{"at":1.0}')))
    make_run(data, "a", [asked("x", body=look), asked("x", body=wait)], 1)
    make_run(data, "b", [asked("x", body=wait), asked("x", body=look_again)], 2)
    document = compared(data, "a", "b", "--fail-on", "any")
    assert document["changed"] == 0
    hows = {
        (difference["kind"], difference["how"]) for pair in document["differing"] for difference in pair["differences"]
    }
    assert hows == {("tool_names", "noise"), ("finish_reason", "noise")}


def test_a_difference_that_base_never_has_is_a_change_beside_its_noise(data: Path) -> None:
    look, wait = answer(calls(("look", '{"at": 1}'))), answer(calls(("wait", "{}")), finish_reason="tool_calls")
    make_run(data, "a", [asked("x", body=look), asked("x", body=look), asked("y", "one"), asked("y", "two")], 1)
    make_run(data, "b", [asked("x", body=look), asked("x", body=wait), asked("y", "two"), asked("y", "one")], 2)
    document = compared(data, "a", "b", "--fail-on", "finish_reason,text", code=1)
    assert changed(document) == {"x": {"tool_names", "finish_reason"}}
    assert [rule["state"] for rule in document["rules"]] == ["fired", "held"]


@pytest.mark.parametrize(
    ("match", "pairs"),
    [("request", 0), ("messages", 2), ("last-user", 3), ("messages_fingerprint", 2), ("model", 0), ("seed", 0)],
)
def test_the_key_of_a_pair_can_be_chosen(data: Path, match: str, pairs: int) -> None:
    system = {"role": "system", "content": "Be brief."}
    longer = [system, {"role": "user", "content": "z"}, {"role": "assistant", "content": "?"}]
    make_run(data, "a", [asked("x"), asked("y"), asked("z", messages=[system, {"role": "user", "content": "z"}])], 1)
    make_run(
        data, "b", [asked("x", model="gpt-5"), asked("y", model="gpt-5"), asked("z", model="gpt-5", messages=longer)], 2
    )
    document = compared(data, "a", "b", "--match", match)
    assert document["pairs"] == pairs
    assert len(document["unpaired"]) == 6 - 2 * pairs
    if match == "seed":
        assert {exchange["reason"] for exchange in document["unpaired"]} == {"no key"}


def test_two_models_of_one_run_are_compared_by_filters(data: Path) -> None:
    make_run(data, "evals,1", [asked("x", "yes"), asked("x", "no", model="gpt-5"), asked("y", model="gpt-5")])
    document = compared(data, "run=evals*,model=house*", "provider=openai,model=gpt-5", "--match", "messages")
    assert (document["pairs"], document["changed"], len(document["unpaired"])) == (1, 1, 1)
    pair = document["differing"][0]
    assert (pair["base_model"], pair["candidate_model"]) == ("house-1", "gpt-5")
    whole = compared(data, "evals,1", "evals,1")
    assert whole["pairs"] == 3
    halves = compared(data, "until=2026-11-21T10:01:01", "since=2026-11-21T10:01:01", "--match", "messages")
    assert (halves["pairs"], len(halves["unpaired"])) == (1, 1)


def test_figures_of_pairs_that_have_them_on_both_sides(data: Path) -> None:
    def usage(tokens: int) -> dict[str, int]:
        return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": tokens + 5}

    make_run(data, "a", [asked(str(n), usage=usage(20 + n), ended_us=400_000 + n) for n in range(60)], 1)
    made = [asked(str(n), usage=usage(40 + n) if n else None, ended_us=600_000 + n) for n in range(60)]
    make_run(data, "b", made, 2)
    rules = ("--fail-on", "completion_tokens>20%,p95_total>40%,total>60%,cost>1%,prompt_tokens>0%,ttft>1%")
    document = compared(data, "a", "b", *rules, code=1)
    figures = {(figure["figure"], figure["statistic"]): figure for figure in document["figures"]}
    assert figures["completion_tokens", "sum"]["pairs"] == 59
    assert figures["completion_tokens", "sum"]["difference"] == 59 * 20
    assert figures["total", "p50"]["interval"] == pytest.approx([200, 200])
    assert ("cost", "sum") not in figures
    states = {rule["rule"]: rule["state"] for rule in document["rules"]}
    assert states == {
        "completion_tokens>20%": "fired",
        "p95_total>40%": "fired",
        "total>60%": "held",
        "cost>1%": "not judged",
        "prompt_tokens>0%": "held",
        "ttft>1%": "not judged",
    }


def test_costs_are_compared(data: Path) -> None:
    """Ten thousand completion tokens of gpt-4o-mini cost 0.6 cents."""
    for run, number, tokens in (("a", 1, 10_000), ("b", 2, 12_000)):
        usage = {"prompt_tokens": 0, "completion_tokens": tokens}
        make_run(data, run, [asked(str(n), model="gpt-4o-mini", usage=usage) for n in range(20)], number)
    document = compared(data, "a", "b", "--fail-on", "cost>19%,mean_cost>21%", code=1)
    (figure,) = (figure for figure in document["figures"] if (figure["figure"], figure["statistic"]) == ("cost", "sum"))
    assert (figure["pairs"], figure["base"], figure["candidate"]) == (20, pytest.approx(0.12), pytest.approx(0.144))
    assert [rule["state"] for rule in document["rules"]] == ["fired", "held"]


def test_the_time_to_first_token_counts_only_complete_streams(data: Path) -> None:
    body = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    streamed = MadeUp(body=body, content_type="text/event-stream")
    make_run(data, "a", [replace(streamed, answered_us=100_000), MadeUp(content="whole")], 1)
    make_run(data, "b", [replace(streamed, answered_us=150_000), MadeUp(content="whole")], 2)
    document = compared(data, "a", "b")
    (figure,) = (
        figure for figure in document["figures"] if (figure["figure"], figure["statistic"]) == ("ttft", "mean")
    )
    assert (figure["pairs"], figure["base"], figure["candidate"], figure["verdict"]) == (
        1,
        100.0,
        150.0,
        "too few pairs",
    )


def test_a_recording_without_texts_is_compared_without_them(data: Path) -> None:
    make_journal(data, [replace(asked("x", "one"), started_at_us=NOON_US)], "recorder-a", "a", content="none")
    make_run(data, "b", [asked("x", "two", finish_reason="length")], 2)
    document = compared(data, "a", "b")
    assert document["basis"]["without_text"] == 1
    assert {difference["kind"] for pair in document["differing"] for difference in pair["differences"]} == {
        "finish_reason"
    }
    assert "compared without texts" in tapeline_here("diff", "a", "b", "--data", data).stdout


def test_content_that_is_not_plain_text_is_compared(data: Path) -> None:
    def parts(text: str) -> bytes:
        return answer({"content": [{"type": "text", "text": text}]})

    make_run(data, "a", [asked("x", body=parts("one")), asked("y", body=parts("one"))], 1)
    make_run(data, "b", [asked("x", body=parts("two")), asked("y", body=parts("one"))], 2)
    assert changed(compared(data, "a", "b")) == {"x": {"text"}}


def test_a_fired_rule_sets_exit_code_1_and_is_printed_on_stderr(recordings: Path, tmp_path: Path) -> None:
    target = tmp_path / "comparison.json"
    options = ("--data", recordings, "--fail-on", "outcome, text > 1, tool_calls>50%", "--format", "json", "-o", target)
    result = tapeline_here("diff", "before", "after", *options)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"Wrote {target}",
        "outcome: fired: 1 of 38 pairs changed (2.6%).",
        "text>1: held: 0 of 38 pairs differ by more; the furthest by 1.00.",
        "tool_calls>50%: held: 2 of 38 pairs changed (5.3%).",
    ]
    assert [rule["state"] for rule in json.loads(target.read_text())["rules"]] == ["fired", "held", "held"]


def test_exit_code_0_without_rules_and_with_rules_that_hold(recordings: Path) -> None:
    assert compared(recordings, "before", "after")["changed"] == 10
    compared(recordings, "before", "after", "--fail-on", "outcome>50%")


def test_nothing_paired_fails_every_rule_and_names_a_way_out(data: Path) -> None:
    make_run(data, "a", [asked("x")], 1)
    make_run(data, "b", [asked("x", model="gpt-5")], 2)
    assert tapeline_here("diff", "a", "b", "--data", data).returncode == 0
    result = tapeline_here("diff", "a", "b", "--data", data, "--fail-on", "outcome")
    assert result.returncode == 1
    assert "--match messages" in result.stdout
    assert "outcome: fired: there is no pair to judge by" in result.stderr


WRONG = {
    "an unknown run": (["before", "nonsense"], "nonsense"),
    "a side that matches nothing": (["before", "model=nonsense"], "model=nonsense"),
    "an unknown filter": (["before", "color=red"], "run=…, model=…"),
    "a filter without a value": (["before", "model="], "model="),
    "a filter twice": (["before", "model=a,model=b"], "model twice"),
    "an empty side": (["before", ""], "is not a side"),
    "a time that cannot be read": (["before", "since=yesterday"], "yesterday"),
    "an unknown column": (["before", "after", "--match", "nonsense"], "nonsense"),
    "a column in disguise": (["before", "after", "--match", "run FROM stored.exchanges; --"], "nor a column"),
    "an unknown rule": (["before", "after", "--fail-on", "nonsense>3"], "'nonsense>3' is not a rule. Write rules"),
    "no rule": (["before", "after", "--fail-on", ""], "is not a rule"),
    "one side": (["before"], "CANDIDATE"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_gets_one_clear_line_and_exit_code_2(recordings: Path, name: str) -> None:
    arguments, word = WRONG[name]
    assert_one_clear_line(tapeline_here("diff", *arguments, "--data", recordings), 2, word)

"""Two recordings made up to be compared: each kind of difference, noise, hostile text, and what has no partner."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.journals.journals import NOON_US, MadeUp, make_journal

MINUTE_US = 60_000_000
# Nobody's, so that no list of prices has it.
MODEL = "house-1"
HOSTILE = (
    "</pre></details></script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)> "
    "\x1b]0;owned\x07\x1b[31mred\u202egnp.exe @everyone #1 **bold** [a](http://127.0.0.1:9) | \x00\ufffe ]]> ```"
)
STORY = "Packets find their way through the silent night until the old router dreams on and on"
BUSY = {"error": {"message": "Slow down, request req_12345", "type": "rate_limit_error", "code": "busy"}}


def answer(*messages: dict[str, Any], finish_reason: str = "stop", **usage: int) -> bytes:
    """A completion with a choice for each message."""
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
        for index, message in enumerate(messages)
    ]
    return json.dumps({"id": "x", "object": "chat.completion", "choices": choices, "usage": usage}).encode()


def calls(*named: tuple[str, str]) -> dict[str, Any]:
    """A message that calls tools."""
    called = [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(named)
    ]
    return {"content": None, "tool_calls": called}


def asked(question: str, text: str = "Hi.", model: str = MODEL, **more: Any) -> MadeUp:
    return MadeUp(content=question, text=text, model=model, **more)


#: Question -> what BASE and the candidate answer.
CASES: dict[str, tuple[MadeUp, MadeUp]] = {
    "white space": (asked("white space", "One two."), asked("white space", "One\n\ntwo. ")),
    "same JSON": (asked("same JSON", '{"a": 1.0, "b": [2]}'), asked("same JSON", '{"b":[2],"a":1}')),
    "other words": (asked("other words", STORY), asked("other words", STORY.replace("silent night", "noisy day"))),
    "cut short": (asked("cut short"), asked("cut short", finish_reason="length")),
    "other tool": (
        asked("other tool", body=answer(calls(("look", "{}")))),
        asked("other tool", body=answer(calls(("listen", "{}")))),
    ),
    "other arguments": (
        asked("other arguments", body=answer(calls(("look", '{"at": "sea", "n": 1}'), ("wait", "{}")))),
        asked("other arguments", body=answer(calls(("wait", "{}"), ("look", '{"n":2,"at":"sea"}')))),
    ),
    "same arguments": (
        asked("same arguments", body=answer(calls(("look", '{"at": "sea", "n": 1}'), ("wait", "{}")))),
        asked("same arguments", body=answer(calls(("wait", "{ }"), ("look", '{"n":1.0,"at":"sea"}')))),
    ),
    "refused": (
        asked("refused", body=answer({"content": None, "refusal": "I must not say that."})),
        asked("refused", body=answer({"content": None, "refusal": "I will say nothing of it."})),
    ),
    "thought over": (
        asked("thought over", body=answer({"content": "42"})),
        asked("thought over", body=answer({"content": "42", "reasoning_content": "6 x 9"})),
    ),
    "fewer choices": (
        asked("fewer choices", body=answer({"content": "a"}, {"content": "b"})),
        asked("fewer choices", body=answer({"content": "a"})),
    ),
    "failed": (asked("failed"), asked("failed", body=json.dumps(BUSY).encode(), status=429)),
    "hostile": (asked("hostile " + HOSTILE, "Nice."), asked("hostile " + HOSTILE, HOSTILE)),
}
#: Question -> BASE's own answers and the candidate's, the last of which is compared with BASE's last.
REPEATED = {
    "within": (["a b c d", "a b c e", "a b c f"], ["a b c d", "a b c e", "a b c g"]),
    "beyond": (["a b c d", "a b c e", "a b c f"], ["a b c d", "a b c e", "x y z"]),
}
SAME = 20
#: What the documentation shows.
EXAMPLE_ARGUMENTS = ("before", "after", "--fail-on", "tool_calls,text>0.5,completion_tokens>5%", "--limit", "2")


def make_recordings(data: Path) -> None:
    """Runs `before` and `after`: BASE and the candidate."""
    make_run(
        data, "before", [*(base for base, _ in CASES.values()), *_repeated(0), *_same(20), asked("only before")], 1
    )
    make_run(
        data, "after", [*(other for _, other in CASES.values()), *_repeated(1), *_same(22), asked("only after")], 2
    )


def make_example(data: Path) -> None:
    """Runs `before` and `after` for a reader: one question asked twice, one tool called otherwise, longer answers."""
    look, wait = calls(("get_weather", '{"city": "Paris"}')), calls(("get_weather", '{"city":"Paris","unit":"C"}'))
    haikus = ("Packets find their way.", "Packets lose their way.", "Packets find a way.")
    for place, run in enumerate(("before", "after")):
        usage = {"prompt_tokens": 12, "completion_tokens": 20 + 2 * place}
        exchanges = [
            asked("Weather in Paris?", body=answer((look, wait)[place], finish_reason="tool_calls", **usage)),
            asked("Capital of France?", ("Paris.", "The capital of France is Paris.")[place], usage=usage),
            asked("Write of routers.", haikus[place], usage=usage),
            asked("Write of routers.", haikus[1 + place], usage=usage),
            *(asked(f"What is 7 times {number}?", str(7 * number), usage=usage) for number in range(20)),
        ]
        make_run(data, run, exchanges, place)


def make_run(data: Path, run: str, exchanges: Iterable[MadeUp], place: int = 1) -> list[str]:
    """A recording with these exchanges, a second apart; gives their ids, which never change."""
    numbered = [
        replace(
            exchange,
            started_at_us=NOON_US + place * MINUTE_US + number * 1_000_000,
            exchange_id=f"01a1fd8c-6900-7000-8000-{place:04x}{number:08x}",
        )
        for number, exchange in enumerate(exchanges)
    ]
    make_journal(data, numbered, recorder_id=f"recorder-{run}", run=run)
    return [exchange.exchange_id for exchange in numbered]


def _repeated(side: int) -> list[MadeUp]:
    return [asked(question, text) for question, answers in REPEATED.items() for text in answers[side]]


def _same(completion_tokens: int) -> list[MadeUp]:
    usage = {"prompt_tokens": 10, "completion_tokens": completion_tokens, "total_tokens": completion_tokens + 10}
    return [asked(f"same {number}", usage=usage) for number in range(SAME)]

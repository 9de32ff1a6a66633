"""Changes an input so that its JSON stays JSON: most changes of single bytes would not get past the parser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from tests.fuzz.properties import PLAIN

_ODD: tuple[Any, ...] = (None, True, 0, -1, 2**63, 1.5, "", "x", "\ud83d", "[DONE]", [], {}, [None], {"": 0}, [[]], "=")
# What precedes the JSON on a line: the head of an input, or the name of an event's field.
_PREFIX = re.compile(rb".{%d}(?=[{\[])|data: " % len(PLAIN), re.DOTALL)
_Change = Callable[[list[bytes], int, Random], list[bytes]]


class Mutator:
    """Puts fields and values of the inputs that it was made with into other inputs."""

    def __init__(self, inputs: Iterable[bytes]) -> None:
        self._values: list[Any] = list(_ODD)
        self._names: list[str] = []
        for line in sorted({_without_prefix(line) for data in inputs for line in data.splitlines()}):
            self._collect(_parsed(line))
        self._names = sorted(set(self._names))
        self._changes: tuple[_Change, ...] = (*[self._change_value] * 4, _repeat, _move)

    def mutate(self, data: bytes, seed: int) -> bytes:
        """Return the input with a few of its lines of JSON changed; unchanged where no line is JSON."""
        random = Random(seed)
        lines = data.split(b"\n")
        for _ in range(random.randint(1, 4)):
            places = [place for place, line in enumerate(lines) if _parsed(_without_prefix(line)) is not None]
            if not places:
                break
            # Prefer the first line, the request: a stream has many others.
            place = random.choice((places[0], random.choice(places), random.choice(places)))
            lines = random.choice(self._changes)(lines, place, random)
        return b"\n".join(lines)

    def _change_value(self, lines: list[bytes], place: int, random: Random) -> list[bytes]:
        line = lines[place]
        text = _without_prefix(line)
        prefix, value = line[: len(line) - len(text)], _parsed(text)
        container = random.choice(list(_containers(value)))
        self._change(container, random)
        return [*lines[:place], prefix + json.dumps(value).encode(), *lines[place + 1 :]]

    def _change(self, container: Any, random: Random) -> None:
        keys: list[Any] = list(container) if isinstance(container, dict) else list(range(len(container)))
        changes: list[Callable[[], None]] = [lambda: self._add(container, random)]
        if keys:
            key = random.choice(keys)
            changes += [lambda: container.pop(key), lambda: container.__setitem__(key, self._value(random))]
        random.choice(changes)()

    def _add(self, container: Any, random: Random) -> None:
        if isinstance(container, dict):
            container[random.choice(self._names)] = self._value(random)
        else:
            container.insert(random.randint(0, len(container)), self._value(random))

    def _value(self, random: Random) -> Any:
        # Copy it: a later change of the input must not change this value.
        return json.loads(json.dumps(random.choice(self._values)))

    def _collect(self, value: Any) -> None:
        for container in _containers(value):
            if isinstance(container, dict):
                self._names += container
            self._values += container.values() if isinstance(container, dict) else container


def _without_prefix(line: bytes) -> bytes:
    prefix = _PREFIX.match(line)
    return line[prefix.end() :] if prefix else line


def _parsed(line: bytes) -> Any:
    """Return the object or list on a line, or None."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _containers(value: Any) -> Iterable[Any]:
    if isinstance(value, dict | list):
        yield value
        for member in value.values() if isinstance(value, dict) else value:
            yield from _containers(member)


def _repeat(lines: list[bytes], place: int, _random: Random) -> list[bytes]:
    return [*lines[:place], lines[place], b"", *lines[place:]]


def _move(lines: list[bytes], place: int, random: Random) -> list[bytes]:
    line = lines[place]
    others = [*lines[:place], *lines[place + 1 :]]
    to = random.randint(0, len(others))
    return [*others[:to], line, *others[to:]]

"""Reads `tests/data/systems/`: what five systems' documents name, and exchanges in which it all occurs.

A folder a system. `fields.toml` lists what its document names, line by line, with the column that must hold it; every
other file is an exchange: the request, the answer (a body, or the events of a stream with the completion that they
add up to) and the columns that must come of it. What is proved with them stands in `test_systems`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tapeline.addons.tapeline_recorder.headers import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    find_key,
    fingerprint,
    kept_headers,
)
from tapeline.pipeline.records.captured import CapturedExchange
from tapeline.pipeline.wire.json_text import dumps, loads
from tests.support.journals.captured import captured
from tests.support.places import DATA

Object = dict[str, Any]

SYSTEMS = DATA / "systems"
MISSING = "missing"
_KINDS: dict[str, type] = {"text": str, "list": list, "object": dict, "null": type(None)}
_SALT = bytes(32)


@dataclass(frozen=True)
class Line:
    """One line of a `fields.toml`: something that a document names, and the columns that hold it."""

    text: str
    place: str
    path: str
    wanted: str | None
    homes: tuple[str, ...]
    is_peculiar: bool

    def found_in(self, values: list[Any]) -> list[Any]:
        """Those of the values at the path that the line is about."""
        if self.wanted is None:
            return [value for value in values if value is not None]
        operator, _, operand = self.wanted.partition(" ")
        if operator == "is":
            return [value for value in values if isinstance(value, _KINDS[operand])]
        return [value for value in values if value == loads(operand) and type(value) is type(loads(operand))]


@dataclass(frozen=True)
class Exchange:
    """One exchange with a system, and what must be recorded of it."""

    system: System
    name: str
    content: Object

    @property
    def request(self) -> Object:
        body: Object = self.content["request"]["body"]
        return body

    @property
    def events(self) -> list[Any]:
        """What a stream's events carry, as JSON; empty for an answer that is no stream."""
        return [event for event in self.content["answer"].get("events", ()) if event != "[DONE]"]

    @property
    def status(self) -> int:
        status: int = self.content["answer"]["status"]
        return status

    @property
    def answer(self) -> bytes:
        """The answer's body as it is on the wire."""
        answer = self.content["answer"]
        if "body" in answer:
            return dumps(answer["body"]).encode()
        events = (event if isinstance(event, str) else dumps(event) for event in answer["events"])
        return "".join(f"data: {event}\n\n" for event in events).encode()

    @property
    def completion(self) -> Any:
        """What the system sends, or would have sent, without streaming; None where that is no completion."""
        if "completion" in self.content:
            return self.content["completion"]
        is_answer = self.content["recorded"]["outcome"] == "complete"
        return self.content["answer"]["body"] if is_answer else None

    @property
    def error(self) -> Any:
        """What says that something went wrong, or None."""
        if self.content["recorded"]["outcome"] == "http_error":
            return self.content["answer"]["body"]
        return next((event for event in self.events if "error" in event), None)

    @property
    def path(self) -> str:
        """The path that is asked."""
        return urlsplit(self.system.url).path

    def headers(self, side: str) -> list[tuple[str, str]]:
        """The headers of the `request` or the `answer`."""
        return list(self.content[side].get("headers", {}).items())

    def captured(self, response: list[bytes], request: list[bytes] | None = None) -> CapturedExchange:
        """The exchange as the recorder hands it on, with the bodies in such chunks."""
        address = urlsplit(self.system.url)
        headers = self.headers("request")
        key = find_key(headers, self.path)
        exchange = captured(
            *response,
            status=self.status,
            headers=[[*pair] for pair in kept_headers(self.headers("answer"), RESPONSE_HEADERS)],
            request_headers=[[*pair] for pair in kept_headers(headers, REQUEST_HEADERS)],
            scheme=address.scheme,
            host=address.hostname,
            port=address.port or 443,
            path=self.path,
            api_key_id=fingerprint(key, _SALT) if key else None,
        )
        exchange.request = [(1, chunk) for chunk in request or [dumps(self.request).encode()]]
        return exchange

    def values_of(self, line: Line) -> list[Any]:
        """What a line speaks of, as far as it occurs in this exchange."""
        match line.place:
            case "path":
                return [line.path] if line.path == self.path else []
            case "status":
                return [self.status] if line.path == str(self.status) else []
            case "request-header" | "answer-header":
                side = line.place.removesuffix("-header")
                return [value for name, value in self.headers(side) if name.lower() == line.path.lower()]
        if line.wanted == f"is {MISSING}":
            return [] if values_at(self.request, line.path) else [MISSING]
        bodies = {"request": [self.request], "answer": [self._body], "chunk": self.events, "error": [self.error]}
        return [value for body in bodies[line.place] for value in line.found_in(values_at(body, line.path))]

    @property
    def _body(self) -> Any:
        return self.content["answer"].get("body") if self.error is None else None


@dataclass(frozen=True)
class System:
    """One system: a folder of `tests/data/systems`."""

    folder: Path

    @cached_property
    def about(self) -> Object:
        return tomllib.loads((self.folder / "fields.toml").read_text("utf-8"))

    @property
    def url(self) -> str:
        url: str = self.about["url"]
        return url

    @cached_property
    def lines(self) -> list[Line]:
        return [_line(text) for text in self.about["fields"].splitlines() if "->" in text]

    @cached_property
    def exchanges(self) -> list[Exchange]:
        return [Exchange(self, path.stem, _exchange(path)) for path in sorted(self.folder.glob("*.json"))]


def all_systems() -> list[System]:
    """Every system, by name of its folder."""
    return [System(path.parent) for path in sorted(SYSTEMS.glob("*/fields.toml"))]


def values_at(value: Any, path: str) -> list[Any]:
    """The values at a path, where `[]` stands for every member of a list; without those that are not there."""
    values = [value]
    for step in path.split("."):
        name, is_list = step.removesuffix("[]"), step.endswith("[]")
        values = [found[name] for found in values if isinstance(found, dict) and name in found]
        if is_list:
            values = [member for found in values if isinstance(found, list) for member in found]
    return values


def _line(text: str) -> Line:
    said, _, homes = text.partition("->")
    marks, *words = said[:2], *said[2:].split(None, 2)
    place, path, *wanted = words
    return Line(
        text=" ".join(text.split()),
        place=place,
        path=path,
        wanted=wanted[0].strip() if wanted else None,
        homes=tuple(home.strip() for home in homes.split(",")),
        is_peculiar="*" in marks,
    )


def _exchange(path: Path) -> Object:
    content = loads(path.read_bytes())
    assert isinstance(content, dict), path
    return content


def documented() -> Iterator[tuple[System, Line]]:
    """Everything that the documents name."""
    for system in all_systems():
        for line in system.lines:
            yield system, line

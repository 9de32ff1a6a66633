"""The exchanges of the five systems through a real recorder: the client gets every byte, and `show` has all of it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tapeline.pipeline.wire.json_text import dumps
from tests.support.clients.wire import open_road
from tests.support.journals.systems import Exchange, all_systems
from tests.support.processes.recorder import documents
from tests.support.servers.scripted import Conversation

pytestmark = pytest.mark.slow

ALL = [exchange for system in all_systems() for exchange in system.exchanges]
# The connection's own, which client and server write themselves.
OF_THE_CONNECTION = ("host", "content-length", "connection")


def test_every_exchange_comes_through_and_is_recorded(data: Path, authority: Path) -> None:
    waiting = iter(ALL)

    def answer(conversation: Conversation) -> None:
        conversation.read_body()
        exchange = next(waiting)
        conversation.start(status=exchange.status, **headers(exchange, "answer"))
        for event in exchange.answer.splitlines(keepends=True):
            conversation.send(event)
        conversation.end()

    with open_road("plain", data, answer, authority) as road, closing(road.connect()) as connection:
        for exchange in ALL:
            connection.request("POST", exchange.path, dumps(exchange.request).encode(), headers(exchange, "request"))
            response = connection.getresponse()
            assert (response.status, response.read()) == (exchange.status, exchange.answer)
    for exchange, shown in zip(ALL, documents(data), strict=True):
        assert shown["request"] == plain(exchange.request), exchange
        said = exchange.completion if exchange.completion is not None else exchange.error
        assert shown["response"] == (plain(said) if said else dumps(said)), exchange
        assert shown["exchange"]["status_code"] == exchange.status
        measured = exchange.content["recorded"].keys() & shown["exchange"].keys()
        about = {name: plain(exchange.content["recorded"][name]) for name in measured}
        assert {name: shown["exchange"][name] for name in about} == about, exchange
        assert "canary" not in json.dumps(shown)


def headers(exchange: Exchange, side: str) -> dict[str, str]:
    """The headers that a client or a server adds by itself are left to it."""
    return {name: value for name, value in exchange.headers(side) if name.lower() not in OF_THE_CONNECTION}


def plain(value: Any) -> Any:
    """A value with the numbers that the standard library reads."""
    return json.loads(dumps(value))

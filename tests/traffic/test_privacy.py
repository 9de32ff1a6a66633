"""No secret that passes the recorder reaches a file, and nobody else may read what does."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.clients.wire import PATH, ask, chat, open_road
from tests.support.processes.recorder import query, query_until
from tests.support.servers.scripted import Conversation

pytestmark = pytest.mark.slow

CANARY = "canary-4f1d9ab27c"
ANSWER = b'{"id": "c", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}'
SECRETS = {
    "Authorization": f"Bearer {CANARY}-bearer",
    "Proxy-Authorization": f"Basic {CANARY}-proxy",
    "X-Api-Key": f"{CANARY}-api-key",
    "Cookie": f"session={CANARY}-cookie",
    "X-Payment": f"{CANARY}-signed-payment",
    "Payment-Signature": f"{CANARY}-signed-payment",
    "X-Unheard-Of": f"{CANARY}-unheard-of",
}


def answer(conversation: Conversation) -> None:
    conversation.read_body()
    conversation.answer(ANSWER, Set_Cookie=f"session={CANARY}-set-cookie", Payment_Response=f"{CANARY}-receipt")


def stream_for_ever(conversation: Conversation) -> None:
    conversation.read_body()
    conversation.start(X_Secret=f"{CANARY}-answer")
    conversation.send(b": waiting\n\n")
    conversation.wait_for_hang_up()


def files_below(folder: Path) -> Iterator[Path]:
    yield folder
    for path in folder.rglob("*"):
        if path.exists():  # sealing may have removed it since
            yield path


def assert_private(data: Path) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in files_below(data)}
    assert len(modes) > 10
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def assert_no_canary(data: Path) -> None:
    for path in files_below(data):
        assert CANARY not in path.name
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def test_secrets_reach_no_file_and_files_are_private(data: Path, authority: Path) -> None:
    path = f"{PATH}?api-version=2024-10-21&key={CANARY}-query&code={CANARY}-code"

    def serve(conversation: Conversation) -> None:
        (stream_for_ever if "wait" in conversation.path else answer)(conversation)

    with open_road("tls", data, serve, authority) as road:
        with closing(road.connect()) as connection:
            for _ in range(3):
                connection.request("POST", path, chat(), SECRETS)
                assert connection.getresponse().read() == ANSWER
        with closing(road.connect()) as waiting:
            waiting.request("POST", f"{path}&wait=1", chat(stream=True), SECRETS)
            assert waiting.getresponse().readline() == b": waiting\n"
            query_until(data, "SELECT 1 FROM exchanges", 3)
            assert_private(data)
            assert_no_canary(data)
    assert query(data, "SELECT DISTINCT path FROM exchanges") == [{"path": f"{PATH}?api-version=2024-10-21"}]
    assert_private(data)
    assert_no_canary(data)


def test_one_key_has_one_fingerprint(data: Path, authority: Path) -> None:
    keys = ["Bearer one", "Bearer two", "Bearer one"]
    with open_road("plain", data, answer, authority) as road, closing(road.connect()) as connection:
        for key in keys:
            assert ask(connection, chat(), Authorization=key) == (200, ANSWER)
        connection.request("POST", PATH, chat())
        assert connection.getresponse().read() == ANSWER
    rows = query(data, "SELECT api_key_id FROM exchanges ORDER BY started_at, exchange_id")
    first, second, third, without = (row["api_key_id"] for row in rows)
    assert first == third
    assert first != second
    assert first.startswith("key-")
    assert without is None


def test_what_is_to_be_paid_is_kept(data: Path, authority: Path) -> None:
    """x402's version 2 has the requirements in a header alone; they are the server's, and no secret."""

    def demand(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.answer(b"{}", status=402, Payment_Required="eyJ4NDAyVmVyc2lvbiI6Mn0=", Connection="keep-alive")

    with open_road("plain", data, demand, authority) as road, closing(road.connect()) as connection:
        assert ask(connection, chat()) == (402, b"{}")
    (row,) = query(data, "SELECT status_code, response_headers FROM exchanges")
    assert row["status_code"] == 402
    kept = {header["name"]: header["value"] for header in row["response_headers"]}
    assert kept["payment-required"] == "eyJ4NDAyVmVyc2lvbiI6Mn0="
    assert kept["connection"] == "keep-alive"

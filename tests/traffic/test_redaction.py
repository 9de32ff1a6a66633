"""No credential that bodies repeat reaches a file or an output, however it is cut, coded, echoed or killed."""

from __future__ import annotations

import gzip
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.wire import DONE, FINISH, PATH, Road, ask, chat, event, open_road
from tests.support.journals.journals import wait_until_kept
from tests.support.processes.recorder import query, shown, tapeline, tapeline_here
from tests.support.servers.scripted import Conversation

pytestmark = pytest.mark.slow

# Not like any format that is known: only the request tells that they are credentials.
CANARIES = {
    "Authorization": "Bearer canary.authorization.4f1d",
    "X-Api-Key": "canary-x-api-key-4f1d",
    "Api-Key": "canary-api-key-4f1d",
    "Cookie": "session=canary-session-4f1d; theme=dark",
    "Proxy-Authorization": "Basic canary-proxy-4f1d",
    "X-Payment": "canary-payment-4f1d",
    "X-Goog-Api-Key": "canary-goog-4f1d",
}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnktand0In0.canary-jwt-signature-4f1d"
SECRETS = [
    "canary.authorization.4f1d",
    "canary-x-api-key-4f1d",
    "canary-api-key-4f1d",
    "canary-session-4f1d",
    "canary-proxy-4f1d",
    "canary-payment-4f1d",
    "canary-goog-4f1d",
    "canary-query-4f1d",
]
# Of a known format: found in bodies, whoever wrote them.
TOKEN = "sk-proj-canary0123456789abcdefghijklmnop4f1d"
TARGET = f"{PATH}?api-version=1&key=canary-query-4f1d"


def error_body(text: str) -> bytes:
    return json.dumps({"error": {"message": text, "type": "invalid_request_error", "param": None}}).encode()


def repeat(conversation: Conversation) -> None:
    """Answer with all that the request came with, in the way that it asks for."""
    conversation.read_body()
    text = f"Incorrect: {' '.join(SECRETS)} {JWT}."
    how = conversation.headers["X-How"]
    if how == "gzip":
        conversation.answer(gzip.compress(error_body(text)), status=401, Content_Encoding="gzip")
    elif how == "plain":
        conversation.answer(error_body(text), status=401, Set_Cookie="session=canary-set-cookie-4f1d")
    else:
        conversation.start(X_Secret="canary-answer-4f1d")
        for start in range(0, len(TOKEN), 7):
            conversation.send(event(TOKEN[start : start + 7]))
        data = b"data: " + error_body(text) + b"\n\n"
        for start in range(0, len(data), 11):
            conversation.send(data[start : start + 11])
        if how == "wait":
            conversation.wait_for_hang_up()
        else:
            conversation.send(FINISH + DONE)
            conversation.end()


def post(road: Road, how: str, body: bytes) -> bytes:
    with closing(road.connect()) as connection:
        connection.request("POST", TARGET, body, {"X-How": how, "Authorization": "", **CANARIES, "X-Jwt": JWT})
        return connection.getresponse().read()


def leaks(data: Path) -> dict[str, list[str]]:
    """Where which of the canaries stands in a file."""
    wanted = [*SECRETS, "canary-jwt-signature", "canary-set-cookie", "canary-answer"]
    found = {}
    for path in data.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if standing := [canary for canary in wanted if canary.encode() in content]:
            found[path.name] = standing
    return found


def outputs(data: Path) -> str:
    """All that the commands print of a recording."""
    ids = [row["exchange_id"] for row in query(data, "SELECT exchange_id FROM exchanges")]
    commands: list[list[str]] = [
        ["load"],
        ["tail", "--no-follow"],
        ["doctor"],
        ["sql", "SELECT * FROM exchanges", "--format", "json"],
        ["sql", "SELECT * FROM content", "--format", "csv"],
        *(["report", name, "--format", form] for name in ("errors", "overview") for form in ("table", "json", "csv")),
        *(["report", "--format", form] for form in ("table", "html")),
        *(["diff", "*", "*", "--format", form] for form in ("table", "json", "markdown", "html", "junit")),
        *(["show", exchange_id] for exchange_id in ids),
        *(["show", exchange_id, "--json"] for exchange_id in ids),
    ]
    results = [tapeline_here(*command, "--data", data) for command in commands]
    assert [result.stderr for result in results if result.returncode] == []
    return "".join(result.stdout + result.stderr for result in results)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_what_a_provider_repeats_of_a_requests_credentials_is_kept_nowhere(
    kind: str, data: Path, authority: Path
) -> None:
    with open_road(kind, data, repeat, authority, "--set", "tapeline_seal=false") as road:
        for how in ("plain", "gzip", "stream"):
            body = post(road, how, chat(text=f"My key is {SECRETS[0]}, is it {JWT}?"))
            if how != "gzip":
                # The client has it all the same.
                assert SECRETS[0].encode() in body
        said = road.recorder.said
    assert any((data / "journal").iterdir())
    # Known formats that no header held are the sealing's; the request's own never reach even the journal.
    assert {name: found for name, found in leaks(data).items() if found != ["canary-jwt-signature"]} == {}
    printed = outputs(data)
    assert leaks(data) == {}
    for canary in (*SECRETS, JWT, TOKEN, "canary-set-cookie"):
        assert canary not in printed
        assert canary not in said
    rows = query(data, "SELECT * FROM exchanges ORDER BY started_at")
    assert [row["outcome"] for row in rows] == ["http_error", "http_error", "stream_error"]
    assert all("[redacted:credential:" in row["error_message"] for row in rows)
    assert all(row["request_redactions"] == 2 for row in rows)
    assert all(row["response_redactions"] >= len(SECRETS) for row in rows)
    assert rows[2]["choices"][0]["content"].startswith("[redacted:api-key:")
    assert {row["api_key_id"] for row in rows} == {rows[0]["api_key_id"]}


def test_a_killed_recorder_leaves_none_behind(data: Path, authority: Path) -> None:
    with open_road("plain", data, repeat, authority) as road:
        with closing(road.connect()) as connection:
            connection.request("POST", TARGET, chat(), {"X-How": "wait", **CANARIES})
            answer = connection.getresponse()
            while not answer.readline().startswith(b'data: {"error"'):
                pass
            wait_until_kept(data, 1)
            road.recorder.process.send_signal(signal.SIGKILL)
            road.recorder.process.wait(30)
        assert {name: found for name, found in leaks(data).items() if found != ["canary-jwt-signature"]} == {}
        assert not any(canary in outputs(data) for canary in SECRETS)
    assert leaks(data) == {}


def test_redaction_can_be_turned_off_and_added_to(data: Path, authority: Path) -> None:
    def serve(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.answer(b'{"choices":[{"index":0,"message":{"content":"ACME-1234"},"finish_reason":"stop"}]}')

    for options, expected in (
        (("--redact", "none"), f"{TOKEN}|ACME-1234"),
        (("--redact-pattern", r"ACME-\d+"), "[redacted:api-key:|[redacted:own:"),
    ):
        with open_road("plain", data, serve, authority, *options) as road, closing(road.connect()) as connection:
            assert ask(connection, chat(text=TOKEN))[0] == 200
        row = query(data, "SELECT * FROM exchanges ORDER BY started_at DESC LIMIT 1")[0]
        asked = shown(data, row["exchange_id"])["request"]["messages"][0]["content"]
        for text, start in zip((asked, row["choices"][0]["content"]), expected.split("|"), strict=True):
            assert text.startswith(start)


def test_a_recording_without_content_holds_no_text(data: Path, authority: Path) -> None:
    def serve(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(event("canary-answer") + FINISH + DONE)
        conversation.end()

    with open_road("plain", data, serve, authority, "--no-content") as road, closing(road.connect()) as connection:
        assert ask(connection, chat(text="canary-question"))[0] == 200
    (row,) = query(data, "SELECT * FROM exchanges")
    assert row["content_kept"] is False
    assert (row["message_count"], row["prompt_characters"], row["event_sizes"]) == (1, 15, [13, 0, 0])
    assert row["outcome"] == "complete"
    for path in data.rglob("*"):
        assert not path.is_file() or b"canary-" not in path.read_bytes(), path
    document: dict[str, Any] = shown(data, row["exchange_id"])
    assert "canary" not in json.dumps(document)


@pytest.mark.parametrize("option", ["--redact=everything", "--redact-pattern=("])
def test_wrong_options_get_one_line(data: Path, option: str) -> None:
    result = tapeline("record", "--data", data, option, "--", "true")
    assert result.returncode == 2
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert "Traceback" not in result.stderr

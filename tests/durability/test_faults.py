"""Faults of the recorder while traffic passes: the client gets every byte as it comes, and the loss is counted."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tapeline.pipeline.sealing.journal import BATCH_BYTES
from tests.support.clients.wire import DONE, FINISH, KEY, PATH, ask, chat, event
from tests.support.journals.journals import wait_until_counted, wait_until_kept
from tests.support.machine.programs import require
from tests.support.places import SUPPORT
from tests.support.processes.linux import sealing_processes
from tests.support.processes.mitmproxy import RunningMitmproxy
from tests.support.processes.recorder import RunningRecorder, query, query_until
from tests.support.servers.scripted import WAIT_SECONDS, Conversation, ScriptedServer, Turns

pytestmark = pytest.mark.slow

SABOTEUR = SUPPORT / "processes" / "saboteur.py"
MITMDUMP = Path(sys.executable).parent / "mitmdump"
STREAM = [event("One "), event("by "), event("one."), FINISH + DONE]
WHOLE = b'{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}'
# A process may open so few files: the recorder needs about thirty of its own.
FEW_FILES = 64
LIMIT_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def connect(address: str) -> HTTPConnection:
    parts = urlsplit(address)
    return HTTPConnection(str(parts.hostname), parts.port, timeout=WAIT_SECONDS)


class Stepwise:
    """A script that answers in lockstep with the client: an event is sent when the one before was read."""

    def __init__(self) -> None:
        self.turns = Turns()

    def __call__(self, conversation: Conversation) -> None:
        if b'"stream": false' in conversation.read_body():
            conversation.answer(WHOLE)
            return
        conversation.start()
        for part in STREAM:
            conversation.send(part)
            self.turns.take()
        conversation.end()

    def read_stream(self, address: str) -> None:
        """Ask for a stream and read it event by event; fails where bytes are held back."""
        with closing(connect(address)) as connection:
            connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
            response = connection.getresponse()
            for part in STREAM:
                read = b""
                while len(read) < len(part):
                    read += response.read1(len(part) - len(read))
                assert read == part
                self.turns.give()
            assert response.read() == b""


@pytest.mark.parametrize("kind", ["head", "request", "answer", "response", "ending"])
def test_an_exception_in_a_hook_costs_the_record_and_not_a_byte(kind: str, data: Path) -> None:
    script = Stepwise()
    with (
        ScriptedServer(script) as server,
        RunningMitmproxy(MITMDUMP, server.url, data, scripts=(SABOTEUR,), SABOTEUR_KIND=kind) as proxy,
    ):
        for _ in range(3):
            script.read_stream(proxy.address)
        with closing(connect(proxy.address)) as connection:
            assert ask(connection, chat()) == (200, WHOLE)
        assert proxy.stop() == 0, proxy.said
    assert proxy.said.count("fault of its own") == 1
    assert "Traceback" not in proxy.said
    assert query(data, "SELECT sum(exchanges) AS n, min(reason) AS why FROM losses") == [
        {"n": 4, "why": f"recorder: RuntimeError('sabotage of {kind}')"}
    ]
    # What was written before the fault stays, and says why it ends.
    assert all(kind in row["outcome_detail"] for row in query(data, "SELECT outcome_detail FROM exchanges"))


def test_a_folder_that_is_removed_in_mid_stream_costs_nothing(data: Path) -> None:
    script = Stepwise()

    def remove_and_go_on(conversation: Conversation) -> None:
        removed.take()
        script(conversation)

    removed = Turns()
    with ScriptedServer(remove_and_go_on) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        removed.give()
        script.read_stream(recorder.address)
        wait_until_kept(data, len(b"".join(STREAM)))
        shutil.rmtree(data / "journal")
        recorder.wait_until_said("made again")
        removed.give()
        script.read_stream(recorder.address)
        assert recorder.stop() == 0
    assert recorder.said.count("Somebody removed") == 1
    rows = query(data, "SELECT outcome, choices[1].content AS text, response_bytes FROM exchanges")
    assert rows == [{"outcome": "complete", "text": "One by one.", "response_bytes": len(b"".join(STREAM))}] * 2
    assert query(data, "SELECT * FROM losses") == []


def test_a_folder_that_may_not_be_written_for_a_while_costs_nothing(data: Path) -> None:
    """What is open can be written; what is not has to wait, which is sealing."""
    # Root may write everywhere, unless that right is taken from it.
    rights = "-dac_override,-dac_read_search"
    launcher = (require("setpriv"), f"--bounding-set={rights}", f"--inh-caps={rights}") if os.geteuid() == 0 else ()
    script = Stepwise()
    with (
        ScriptedServer(script) as server,
        RunningRecorder(data, "--upstream", server.url, launcher=launcher) as recorder,
    ):
        script.read_stream(recorder.address)
        journals = data / "journal"
        files = list(journals.iterdir())
        with forbidden(journals, *files):
            fill_a_batch(recorder.address)
            wait_for(lambda: "readonly" in (data / "seal.log").read_text(), "sealing does not say what it cannot do")
            script.read_stream(recorder.address)
        wait_for(lambda: any(data.glob("exchanges/*/*.parquet")), "nothing is sealed")
        assert recorder.stop() == 0
    assert query(data, "SELECT outcome, count(*) AS n FROM exchanges GROUP BY ALL") == [{"outcome": "complete", "n": 3}]
    assert query(data, "SELECT * FROM losses") == []


@contextmanager
def forbidden(folder: Path, *files: Path) -> Iterator[None]:
    """Let nobody write a folder and its files."""
    for file in files:
        file.chmod(0o400)
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)
        for file in files:
            file.chmod(0o600)


def test_no_more_files_may_be_opened(data: Path) -> None:
    """Streams that run go on and are recorded; who comes later waits, and is served when files are closed again."""
    went_on = Turns()

    def two_parts(conversation: Conversation) -> None:
        conversation.read_body()
        conversation.start()
        conversation.send(STREAM[0])
        went_on.take()
        conversation.send(b"".join(STREAM[1:]))
        conversation.end()

    with (
        ScriptedServer(two_parts) as server,
        RunningRecorder(
            data, "--upstream", server.url, launcher=(sys.executable, "-c", LIMIT_FILES, str(FEW_FILES))
        ) as recorder,
        ExitStack() as idle,
    ):
        with closing(connect(recorder.address)) as connection:
            connection.request("POST", PATH, chat(stream=True), {"Authorization": KEY})
            response = connection.getresponse()
            assert response.read1() == STREAM[0]
            for _ in range(FEW_FILES):
                idle.enter_context(closing(connect(recorder.address))).connect()
            recorder.wait_until_said("Too many open files")
            went_on.give()
            assert response.read() == b"".join(STREAM[1:])
        wait_until_kept(data, len(b"".join(STREAM)))
        idle.close()
        went_on.give()
        with closing(connect(recorder.address)) as connection:
            assert ask(connection, chat(stream=True)) == (200, b"".join(STREAM))
        assert recorder.stop() == 0
    rows = query(data, "SELECT outcome, choices[1].content AS text FROM exchanges")
    assert rows == [{"outcome": "complete", "text": "One by one."}] * 2
    assert query(data, "SELECT * FROM losses") == []


def fill_a_batch(address: str) -> None:
    """Ask with as many bytes as sealing does not let wait for more."""
    with closing(connect(address)) as connection:
        assert ask(connection, chat() + b" " * BATCH_BYTES) == (200, WHOLE)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_sealing_process_that_is_killed_is_started_again(data: Path) -> None:
    script = Stepwise()
    with ScriptedServer(script) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        wait_for(lambda: len(sealing_processes(recorder)) == 1, "nothing seals")
        (first,) = sealing_processes(recorder)
        os.kill(first, signal.SIGKILL)
        recorder.wait_until_said("sealing process ended (code -9)")
        wait_for(lambda: sealing_processes(recorder) - {first} != set(), "nothing seals any more")
        fill_a_batch(recorder.address)
        wait_for(lambda: any(data.glob("exchanges/*/*.parquet")), "nothing is sealed")
        assert recorder.stop() == 0
    assert recorder.said.count("sealing process") == 1
    assert list((data / "journal").iterdir()) == []
    assert query(data, "SELECT outcome FROM exchanges") == [{"outcome": "complete"}]


def test_a_sealing_process_that_is_dead_at_the_end_leaves_nothing_unsealed(data: Path) -> None:
    script = Stepwise()
    with ScriptedServer(script) as server, RunningRecorder(data, "--upstream", server.url) as recorder:
        wait_for(lambda: len(sealing_processes(recorder)) == 1, "nothing seals")
        script.read_stream(recorder.address)
        (sealing,) = sealing_processes(recorder)
        os.kill(sealing, signal.SIGKILL)
        recorder.wait_until_said("sealing process ended")
        assert recorder.stop() == 0
    assert list((data / "journal").iterdir()) == []
    assert len(list(data.glob("exchanges/*/*.parquet"))) == 1


def test_a_killed_recorder_with_a_fault_leaves_its_count(data: Path) -> None:
    script = Stepwise()
    with (
        ScriptedServer(script) as server,
        RunningMitmproxy(MITMDUMP, server.url, data, scripts=(SABOTEUR,), SABOTEUR_KIND="answer") as proxy,
    ):
        script.read_stream(proxy.address)
        wait_until_counted(data, 1)
        proxy.process.kill()
        proxy.process.wait()
    query_until(data, "SELECT * FROM losses WHERE exchanges = 1", 1)

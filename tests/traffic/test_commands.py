"""`tapeline record -- CMD`: whatever client the command uses, what it reads is recorded; its end is Tapeline's end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.clients.ask import CLIENTS
from tests.support.clients.reading import events_in, joined, summary
from tests.support.clients.wire import KEY, chat, trusting
from tests.support.machine.programs import require
from tests.support.places import SUPPORT
from tests.support.processes.recorder import STOP_SECONDS, TAPELINE, clean_environment, documents, query, tapeline

pytestmark = pytest.mark.slow

HERE = SUPPORT / "clients"
MODEL = "gpt-4o"
READY_SECONDS = 30.0
# Says that it listens, then waits for a signal and leaves with a code of its own.
WAITING = (
    "import signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM):\n"
    "    signal.signal(number, lambda number, frame: sys.exit(40 + number))\n"
    "print('waiting', flush=True)\n"
    "while True:\n"
    "    signal.pause()\n"
)


def record(data: Path, *options: str, command: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    return tapeline("record", "--data", data, *options, "--", *command, environment=clean_environment(**environment))


def base_url(provider: BuiltInProvider) -> str:
    return f"{provider.url.replace('127.0.0.1', 'localhost')}/v1"


def curl(provider: BuiltInProvider, *more: str, model: str = MODEL) -> tuple[str, ...]:
    """A curl that asks once."""
    url = f"{base_url(provider)}/chat/completions"
    return (require("curl"), "-sS", *more, "-H", f"Authorization: {KEY}", "--data", chat(model).decode(), url)


def assert_recorded_as_read(data: Path, read: dict[str, str]) -> None:
    whole, streamed = documents(data)
    assert whole["response"] == json.loads(read["whole"])
    assert summary(streamed["response"]) == summary(joined(events_in(read["streamed"])))
    assert streamed["response"]["usage"] == joined(events_in(read["streamed"]))["usage"]
    assert [document["exchange"]["outcome"] for document in (whole, streamed)] == ["complete", "complete"]
    assert {document["exchange"]["scheme"] for document in (whole, streamed)} == {"https"}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_python_program(client: str, data: Path, authority: Path, https_provider: BuiltInProvider) -> None:
    command = (sys.executable, str(HERE / "ask.py"), client, base_url(https_provider), MODEL)
    result = record(data, *trusting(authority), command=command)
    assert result.returncode == 0, result.stderr
    assert_recorded_as_read(data, json.loads(result.stdout))


def test_a_node_program(data: Path, authority: Path, https_provider: BuiltInProvider) -> None:
    command = (require("node"), str(HERE / "ask.mjs"), base_url(https_provider), MODEL)
    result = record(data, *trusting(authority), command=command)
    assert result.returncode == 0, result.stderr
    assert_recorded_as_read(data, json.loads(result.stdout))


def test_curl(data: Path, authority: Path, https_provider: BuiltInProvider) -> None:
    result = record(data, *trusting(authority), command=curl(https_provider))
    assert result.returncode == 0, result.stderr
    (document,) = documents(data)
    assert document["response"] == json.loads(result.stdout)
    assert document["exchange"]["user_agent"].startswith("curl/")
    assert "Recorded 1 exchanges" in result.stderr.splitlines()[-1]


def test_a_model_on_this_machine_over_plain_http(data: Path, provider: BuiltInProvider) -> None:
    result = record(data, command=curl(provider), NO_PROXY="localhost,127.0.0.1")
    assert result.returncode == 0, result.stderr
    (document,) = documents(data)
    assert document["response"] == json.loads(result.stdout)


def test_a_command_is_pointed_at_the_reverse_proxy(data: Path, provider: BuiltInProvider) -> None:
    command = ("sh", "-c", f"{sys.executable} {HERE / 'ask.py'} openai $OPENAI_BASE_URL {MODEL}")
    result = record(data, "--upstream", f"{provider.url}/v1", command=command)
    assert result.returncode == 0, result.stderr
    read = json.loads(result.stdout)
    assert documents(data)[0]["response"] == json.loads(read["whole"])


def test_the_base_path_of_the_upstream_is_the_commands(data: Path) -> None:
    result = record(data, "--upstream", "http://127.0.0.1:9/api/v1", command=("sh", "-c", "echo $OPENAI_BASE_URL"))
    address = result.stdout.strip()
    assert address.endswith("/api/v1")
    assert f"OPENAI_BASE_URL={address}\n" in result.stderr


def test_the_proxy_that_the_environment_names_is_gone_through(data: Path, provider: BuiltInProvider) -> None:
    url = "http://api.router402.xyz/v1/chat/completions"
    asked = ("-H", f"Authorization: {KEY}", "--data", chat(MODEL).decode())
    result = record(data, command=(require("curl"), "-sS", *asked, url), HTTPS_PROXY=provider.url)
    assert result.returncode == 0, result.stderr
    assert f"upstream:{provider.url}".partition(":")[2] in result.stderr
    (document,) = documents(data)
    assert document["response"] == json.loads(result.stdout)
    assert document["exchange"]["mode"] == "upstream"
    assert [sent.host for sent in provider.sent] == ["api.router402.xyz"]


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_the_commands_exit_code_is_passed_on(script: str, code: int, data: Path) -> None:
    assert record(data, command=("sh", "-c", script)).returncode == code


@pytest.mark.parametrize("name", ["no-such-command", "./no-such-command", "/etc/passwd"])
def test_a_command_that_cannot_be_started_is_named_in_one_line(name: str, data: Path) -> None:
    result = record(data, command=(name,))
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: '{name}' ")
    assert not data.exists()


def test_the_commands_own_output_stays_its_own(data: Path) -> None:
    result = record(data, command=("sh", "-c", "echo out; echo err >&2; cat"))
    assert result.stdout == "out\n"
    assert "err\n" in result.stderr


@contextmanager
def waiting_command(data: Path) -> Iterator[subprocess.Popen[str]]:
    """`tapeline record` in a process group of its own, beside a command that waits for a signal."""
    command = [*TAPELINE, "record", "--data", str(data), "--", sys.executable, "-c", WAITING]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], READY_SECONDS)[0], "the command did not start"
            assert process.stdout.readline() == "waiting\n"
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_signal_to_tapeline_is_passed_to_the_command(data: Path) -> None:
    with waiting_command(data) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 40 + signal.SIGTERM


def test_an_interrupt_of_both_is_the_commands_to_handle(data: Path) -> None:
    """As a terminal does on Ctrl-C: the whole group gets the signal, and the command decides."""
    with waiting_command(data) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 40 + signal.SIGINT
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_command_that_goes_past_the_proxy_is_told(data: Path, provider: BuiltInProvider) -> None:
    result = record(data, command=curl(provider, "--noproxy", "*"))
    assert result.returncode == 0
    assert "No chat completion was seen" in result.stderr
    assert "--upstream URL" in result.stderr
    assert query(data, "SELECT count(*) AS calls FROM exchanges") == [{"calls": 0}]


def test_a_command_that_leaves_the_base_url_alone_is_told(data: Path, provider: BuiltInProvider) -> None:
    result = record(data, "--upstream", provider.url, command=curl(provider))
    assert "No chat completion was seen" in result.stderr
    assert "OPENAI_BASE_URL" in result.stderr.splitlines()[-1]
    assert "--upstream URL" not in result.stderr


def test_a_client_that_rejects_the_certificate_is_told_of(
    data: Path, authority: Path, https_provider: BuiltInProvider
) -> None:
    trusts_another = curl(https_provider, "--cacert", str(authority / "ca.pem"))
    result = record(data, *trusting(authority), command=trusts_another)
    assert result.returncode == 60  # curl: "peer certificate cannot be authenticated"
    told = result.stderr.splitlines()[-1]
    assert "rejected the proxy's certificate for localhost" in told
    assert str(data / "ca" / "mitmproxy-ca-cert.pem") in told
    assert "No chat completion was seen" not in result.stderr


def test_a_python_client_that_rejects_the_certificate_is_told_of(
    data: Path, authority: Path, https_provider: BuiltInProvider
) -> None:
    ask = f"{sys.executable} {HERE / 'ask.py'} httpx {base_url(https_provider)} {MODEL}"
    result = record(data, *trusting(authority), command=("sh", "-c", f"SSL_CERT_FILE={authority / 'ca.pem'} {ask}"))
    assert result.returncode != 0
    assert "rejected the proxy's certificate for localhost" in result.stderr.splitlines()[-1]

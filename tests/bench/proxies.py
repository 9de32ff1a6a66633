"""The proxies under test, each a process (or two) in a folder of its own, and the CPU time and memory they use.

Tapeline and bare mitmproxy run from this project's environment. The others run from environments of their own
(`.venv-bench`, `.venv-litellm`), as their authors ship them.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.bench.crowd import MODEL
from tests.support.places import ROOT
from tests.support.processes.recorder import RunningRecorder, clean_environment

_ROOT = ROOT
CLAUDE_TAP = _ROOT / ".venv-bench" / "bin" / "claude-tap"
LITELLM = _ROOT / ".venv-litellm" / "bin" / "litellm"
READY_SECONDS = 60
STOP_SECONDS = 20
#: The sealing process would run during the other side's turns; sealing is measured apart.
WITHOUT_SEALING = ("--set", "tapeline_seal=false")
_STREAM_ALL = """
from mitmproxy import ctx

def running():
    for server in ctx.master.addons.get("proxyserver").servers:
        print("READY", server.listen_addrs[0][1], flush=True)

def requestheaders(flow):
    flow.request.stream = True

def responseheaders(flow):
    flow.response.stream = True
"""
_SAVE = """
from mitmproxy import ctx

def running():
    for server in ctx.master.addons.get("proxyserver").servers:
        print("READY", server.listen_addrs[0][1], flush=True)
"""
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "{upstream}/v1", api_key: sk-bench}}
litellm_settings: {{telemetry: false}}
"""


@dataclass(frozen=True)
class Running:
    """A proxy that is ready."""

    name: str
    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Return the CPU time of its threads so far, without the processes that it started."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> float:
        """Return its resident memory now, in MiB."""
        return self._status("VmRSS")

    def peak_memory(self) -> float:
        """Return the most resident memory that it ever had, in MiB."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found.group(1)) / 1024


@contextmanager
def tapeline(folder: Path, upstream: str | None, *settings: str) -> Iterator[Running]:
    """Run `tapeline record` before one upstream, or as a proxy for all hosts if `upstream` is None."""
    mode = () if upstream is None else ("--upstream", upstream)
    with RunningRecorder(folder / "tapeline", *mode, *settings) as recorder:
        yield Running("tapeline", urlsplit(recorder.address).port or 0, recorder.process.pid)


@contextmanager
def bare_mitmdump(folder: Path, upstream: str | None, *settings: str) -> Iterator[Running]:
    """Run `mitmdump` with a script that makes it stream all bodies, and nothing else."""
    with _mitmdump(folder / "bare", _STREAM_ALL, upstream, *settings) as running:
        yield running


@contextmanager
def saving_mitmdump(folder: Path, upstream: str) -> Iterator[Running]:
    """Run a `mitmdump` that writes the flow file `flows`."""
    with _mitmdump(folder / "saving", _SAVE, upstream, "--save-stream-file", str(folder / "flows")) as running:
        yield running


@contextmanager
def _mitmdump(folder: Path, script: str, upstream: str | None, *settings: str) -> Iterator[Running]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.py").write_text(script)
    command = [str(Path(sys.executable).with_name("mitmdump")), "--quiet", "-s", str(folder / "script.py")]
    mode = "regular" if upstream is None else f"reverse:{upstream}"
    command += ["--mode", f"{mode}@127.0.0.1:0", "--set", f"confdir={folder / 'conf'}", *settings]
    with _process(command, folder, clean_environment()) as process:
        yield Running("mitmdump", int(_line_with("READY", process).split()[1]), process.pid)


@contextmanager
def claude_tap(folder: Path, upstream: str) -> Iterator[Running]:
    """Run claude-tap in reverse mode, without its live viewer; its database is `traces.sqlite3`."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--tap-no-launch", "--tap-client", "codex", "--tap-proxy-mode", "reverse", "--tap-host", "127.0.0.1"]
    options += ["--tap-no-live", "--tap-no-open", "--tap-no-update-check", "--tap-target", f"{upstream}/v1"]
    port = _free_port()
    home = {"HOME": str(folder), "CLOUDTAP_DB": str(folder / "traces.sqlite3")}
    command = [str(CLAUDE_TAP), *options, "--tap-port", str(port)]
    with _process(command, folder, clean_environment(**home)) as process:
        _wait_for_port(port, process)
        yield Running("claude-tap", port, process.pid)


@contextmanager
def litellm(folder: Path, upstream: str) -> Iterator[Running]:
    """Run LiteLLM's proxy with one model and no database."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(_LITELLM.format(model=MODEL, upstream=upstream))
    port = _free_port()
    command = [str(LITELLM), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1"]
    home = {"HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    home["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    with _process([*command, "--port", str(port)], folder, clean_environment(**home)) as process:
        _wait_for_port(port, process)
        with urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=READY_SECONDS):
            yield Running("litellm", port, process.pid)


def are_peers_there() -> bool:
    return CLAUDE_TAP.exists() and LITELLM.exists()


@contextmanager
def _process(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with (folder / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _line_with(word: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise RuntimeError(f"{process.args!r} did not start")


def _wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    # Its output has to be read, or the process would block once the pipe is full.
    threading.Thread(target=lambda: process.stdout and process.stdout.read(), daemon=True).start()
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

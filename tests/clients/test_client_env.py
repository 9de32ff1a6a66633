"""Real clients through a real proxy: each must reach its target unchanged, and the proxy must see its request.

The clients run as separate programs that only their environment leads to the proxy, like users' programs.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from mitmproxy.certs import CertStore

from tapeline.pipeline.proxy import client_env
from tapeline.pipeline.proxy.client_env import client_environment, upstream_proxy, write_ca_bundle

pytestmark = pytest.mark.slow

BUNDLES = """SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO AWS_CA_BUNDLE PIP_CERT
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH NODE_EXTRA_CA_CERTS"""
TEXT = "the response of the target"
CHOICE = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
COMPLETION = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE]}

PROBE = """
import os, pathlib
from mitmproxy import ctx

folder = pathlib.Path(os.environ["PROBE_FOLDER"])

def running():
    servers = ctx.master.addons.get("proxyserver").servers
    (folder / "port.part").write_text(str([server.listen_addrs for server in servers]))
    (folder / "port.part").rename(folder / "port")

def request(flow):
    with (folder / "seen").open("a") as file:
        print(flow.request.pretty_url, file=file)
"""

PYTHON_CLIENTS = {
    "requests": "import requests; print(requests.get(url).text)",
    "httpx": "import httpx; print(httpx.get(url, timeout=30).text)",
    "urllib": "import urllib.request; print(urllib.request.urlopen(url).read().decode())",
    "aiohttp": """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        print(await response.text())
asyncio.run(main())
""",
    "openai": """
import openai
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
print(completion.choices[0].message.content)
""",
}

NODE_GET = "require('node:' + url.split(':')[0]).get(url, OPTIONS, (response) => response.pipe(process.stdout));"
NODE_CLIENTS = {
    "fetch": "fetch(url).then((response) => response.text()).then(console.log);",
    "node get": NODE_GET.replace("OPTIONS", "{}"),
    "node agent": """
const { Agent } = require('node:' + url.split(':')[0]);
class Counting extends Agent {
  createConnection(...args) { return super.createConnection(...args).once('close', () => {}); }
}
"""
    + NODE_GET.replace("OPTIONS", "{ agent: new Counting({ keepAlive: true }) }"),
}

AIOHTTP_DEFAULTS = """
import asyncio, importlib.util, sys
assert not any(name.startswith("aiohttp") for name in sys.modules)
importlib.util.find_spec("aiohttp.client")
import aiohttp
async def main():
    async with aiohttp.ClientSession() as default, aiohttp.ClientSession(trust_env=False) as chosen:
        print(default.trust_env, chosen.trust_env)
asyncio.run(main())
"""


class Target(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open: a client that waits for its idle connection would never end

    def do_GET(self) -> None:
        body = json.dumps(COMPLETION).encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


def write_certificate(folder: Path) -> Path:
    """Write one file for both sides: the server's key and certificate, and the authority to be trusted."""
    entry = CertStore.from_store(folder, "target", 2048).get_cert("localhost", [x509.DNSName("localhost")])
    certificate = folder / "localhost.pem"
    certificate.write_bytes(entry.cert.to_pem() + (folder / "target-ca.pem").read_bytes())
    return certificate


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Target) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is made in the thread of its connection: here it would block all others.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Recorder:
    """A running mitmdump, the requests it saw, and the environment that leads to it."""

    folder: Path
    environment: dict[str, str]

    def seen(self) -> list[str]:
        log = self.folder / "seen"
        return log.read_text().splitlines() if log.exists() else []


def wait_for_port(process: subprocess.Popen[bytes], folder: Path) -> int:
    deadline = time.monotonic() + 60
    while not (folder / "port").exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    (((_, port),),) = ast.literal_eval((folder / "port").read_text())
    return int(port)


@contextmanager
def mitmdump(folder: Path, trusted: Path) -> Iterator[int]:
    (folder / "probe.py").write_text(PROBE)
    command: list[str | Path] = [Path(sys.executable).with_name("mitmdump"), "--scripts", folder / "probe.py"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", "0", "--set", f"confdir={folder}"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={trusted}"]
    environment = {**os.environ, "PROBE_FOLDER": str(folder)}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield wait_for_port(process, folder)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def targets(certificate: Path) -> Iterator[dict[str, str]]:
    with serving() as plain, serving(certificate) as secure:
        yield {"http": f"http://127.0.0.1:{plain}", "https": f"https://localhost:{secure}"}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Recorder]:
    folder = tmp_path_factory.mktemp("recorder")
    astray = {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "*", "ALL_PROXY": "http://127.0.0.1:9"}
    with mitmdump(folder, certificate) as port:
        bundle = write_ca_bundle(folder / "bundle.pem", folder / "mitmproxy-ca-cert.pem", os.environ)
        base = {**os.environ, **astray}
        yield Recorder(folder, client_environment(base, proxy_url=f"http://127.0.0.1:{port}", ca_bundle=bundle))


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def run_python(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", script], environment)


def command_for(client: str, url: str) -> list[str]:
    if script := PYTHON_CLIENTS.get(client):
        if importlib.util.find_spec(client) is None:
            pytest.skip(f"{client} is not installed")
        return [sys.executable, "-c", f"import sys; url = sys.argv[1]\n{script}", url]
    if client == "curl":
        return [installed("curl"), "--silent", "--show-error", url]
    return [installed("node"), "--eval", f"const url = process.argv[1]; {NODE_CLIENTS[client]}", url]


def installed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("client", [*PYTHON_CLIENTS, "curl", *NODE_CLIENTS])
def test_a_client_is_seen_and_answered(client: str, scheme: str, recorder: Recorder, targets: dict[str, str]) -> None:
    url = f"{targets[scheme]}/{client.replace(' ', '-')}"

    result = run(command_for(client, url), recorder.environment)

    assert (result.returncode, result.stderr) == (0, "")
    assert TEXT in result.stdout
    requested = f"{url}/chat/completions" if client == "openai" else url
    assert recorder.seen().count(requested) == 1


def made_from(base: Mapping[str, str], bundle: Path = Path("/bundle.pem")) -> dict[str, str]:
    """Return an environment for programs that make no request: nothing listens at the proxy's address."""
    return client_environment(base, proxy_url="http://127.0.0.1:9", ca_bundle=bundle)


def test_environment_leads_every_variable_to_the_proxy_and_its_bundle() -> None:
    base = {"HOME": "/home/u", "https_proxy": "http://old", "SSL_CERT_DIR": "/certs", "NO_PROXY": "localhost"}

    made = made_from(base, Path("bundle.pem"))

    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    assert {made[name] for name in proxies} == {"http://127.0.0.1:9"}
    assert {made[name] for name in BUNDLES.split()} == {str(Path.cwd() / "bundle.pem")}
    assert (made["HOME"], made["NODE_USE_ENV_PROXY"]) == ("/home/u", "1")
    assert not {"SSL_CERT_DIR", "NO_PROXY"} & made.keys()


def test_the_users_own_settings_for_node_and_python_stay() -> None:
    once = made_from({"NODE_OPTIONS": "--no-warnings", "PYTHONPATH": f"/one{os.pathsep}/two"})

    assert once["NODE_OPTIONS"].startswith("--no-warnings --require=")
    assert once["PYTHONPATH"] == os.pathsep.join([str(client_env.PYTHON_SITE), "/one", "/two"])
    assert made_from(once) == once


def test_node_finds_the_preload_in_a_folder_with_spaces(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload = tmp_path / 'a "quoted" folder' / "preload.cjs"
    preload.parent.mkdir()
    preload.write_text("globalThis.preloaded = true;")
    monkeypatch.setattr(client_env, "NODE_PRELOAD", preload)

    made = made_from(os.environ, certificate)

    assert run([installed("node"), "--print", "preloaded"], made).stdout == "true\n"


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "not a url", ""])
def test_the_preload_is_silent_in_programs_without_requests(certificate: Path, proxy: str) -> None:
    made = made_from(os.environ, certificate) | {"HTTPS_PROXY": proxy, "https_proxy": proxy}
    made.pop("NODE_USE_ENV_PROXY")  # newer versions of node refuse some of these proxies themselves

    result = run([installed("node"), "--eval", "console.log('ran')"], made)

    assert (result.returncode, result.stdout, result.stderr) == (0, "ran\n", "")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({"HTTPS_PROXY": "", "http_proxy": "http://plain"}, None),
        ({"HTTPS_PROXY": "http://one", "https_proxy": "http://two"}, "http://one"),
        ({"https_proxy": " http://two ", "ALL_PROXY": "http://three"}, "http://two"),
        ({"ALL_PROXY": "http://three", "all_proxy": "http://four"}, "http://three"),
        ({"all_proxy": "http://four"}, "http://four"),
    ],
)
def test_upstream_proxy_is_the_one_for_https(base: dict[str, str], expected: str | None) -> None:
    assert upstream_proxy(base) == expected


def test_aiohttp_is_left_until_imported_and_keeps_an_explicit_choice() -> None:
    pytest.importorskip("aiohttp")

    result = run_python(AIOHTTP_DEFAULTS, made_from(os.environ, Path(certifi.where())))

    assert (result.stdout, result.stderr) == ("True False\n", "")


def with_site(folder: Path, source: str) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(source)
    return made_from(os.environ | {"PYTHONPATH": str(folder)})


def test_users_own_sitecustomize_still_runs_once(tmp_path: Path) -> None:
    made = with_site(tmp_path, "print('site of the user'); NAME = 'the user'")

    result = run_python("import sitecustomize; print(sitecustomize.NAME)", made)

    assert (result.stdout, result.stderr) == ("site of the user\nthe user\n", "")


def test_an_error_in_the_users_sitecustomize_is_reported_as_usual(tmp_path: Path) -> None:
    made = with_site(tmp_path, "raise RuntimeError('of the user')")

    result = run_python("print('ran')", made)
    without_ours = run_python("print('ran')", made | {"PYTHONPATH": str(tmp_path)})

    assert (result.returncode, result.stdout) == (0, "ran\n")
    assert "of the user" in result.stderr
    assert result.stderr == without_ours.stderr


def test_two_recorders_do_not_call_each_other_for_ever(tmp_path: Path) -> None:
    made = with_site(tmp_path, "print('site of the user')")
    other = shutil.copytree(client_env.PYTHON_SITE, tmp_path / "other")
    made["PYTHONPATH"] = os.pathsep.join([str(other), made["PYTHONPATH"]])

    assert run_python("print('ran')", made).stdout == "site of the user\nran\n"


def test_injected_python_is_old_enough_for_any_child() -> None:
    for file in client_env.PYTHON_SITE.glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 8))

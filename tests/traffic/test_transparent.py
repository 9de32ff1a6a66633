"""Transparent mode: a client that knows of no proxy, a gateway that leads its traffic into the recorder, a server.

Each has a network namespace of its own, so that nothing else on the machine is touched.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import override

import pytest

from tapeline.pipeline.demo import BuiltInProvider
from tests.support.clients.reading import events_in, joined, summary
from tests.support.clients.wire import KEY, PATH, chat, trusting
from tests.support.machine.namespaces import SERVER_ADDRESS, Namespaces, call_inside, gateway_between, redirect
from tests.support.machine.programs import output_of, require
from tests.support.processes.recorder import RunningRecorder, documents
from tests.support.servers.authority import make_authority, server_context

pytestmark = pytest.mark.slow

HOST = "api.tapeline.test"
# The openai SDK, to which the name is made known without a name server.
SDK_CLIENT = """
import json, socket, sys
import openai
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: look_up(sys.argv[2] if host == sys.argv[1] else host, *rest, **more)
with openai.OpenAI(api_key="sk-test", base_url=f"https://{sys.argv[1]}/v1", max_retries=0) as client:
    question = [{"role": "user", "content": "Hello!"}]
    answer = client.chat.completions.create(model="gpt-4o", messages=question)
    print(answer.model_dump_json(exclude_unset=True))
"""


class ProviderElsewhere(BuiltInProvider):
    """The built-in provider on the server's address and the protocol's own port."""

    secure = False

    @override
    def server_bind(self) -> None:
        self.server_address = (SERVER_ADDRESS, 443 if self.secure else 80)
        super().server_bind()


class SecureProviderElsewhere(ProviderElsewhere):
    secure = True


@dataclass(frozen=True)
class Net:
    """Everything in its place."""

    names: Namespaces
    recorder: RunningRecorder
    provider: BuiltInProvider
    secure_provider: BuiltInProvider

    def curl(self, url: str, body: bytes) -> bytes:
        """Ask as a client that trusts the recorder's certificate and knows nothing else of it."""
        known = [part for port in (80, 443) for part in ("--resolve", f"{HOST}:{port}:{SERVER_ADDRESS}")]
        trust = ("--cacert", str(self.recorder.certificate))
        headers = ("-H", f"Authorization: {KEY}", "-H", "Content-Type: application/json")
        curl = (require("curl"), "-sS", "--max-time", "30", *known, *trust, *headers, "--data-binary", "@-", url)
        return output_of(*self.names.inside(self.names.client), *curl, data=body)


@pytest.fixture
def net(data: Path, tmp_path: Path) -> Iterator[Net]:
    authority = make_authority(tmp_path, HOST)
    with gateway_between() as names:
        require("nft")
        context: ssl.SSLContext = server_context(authority)
        plain = call_inside(names.server, lambda: ProviderElsewhere(pace=0))
        secure = call_inside(names.server, lambda: SecureProviderElsewhere(pace=0, ssl_context=context))
        options = ("--mode", "transparent", "--listen-host", "0.0.0.0", *trusting(authority))
        launcher = names.inside(names.gateway)
        with plain, secure, RunningRecorder(data, *options, launcher=launcher) as recorder:
            listening = re.search(r"transparent@0\.0\.0\.0:(\d+)", recorder.said)
            assert listening is not None, recorder.said
            redirect(names, "80, 443", int(listening.group(1)))
            yield Net(names, recorder, plain, secure)


def test_traffic_of_a_client_that_knows_of_no_proxy(net: Net, data: Path) -> None:
    whole = net.curl(f"https://{HOST}{PATH}", chat("gpt-4o"))
    streamed = net.curl(f"https://{HOST}{PATH}", chat("deepseek-reasoner", stream=True))
    plain = net.curl(f"http://{HOST}{PATH}", chat("gpt-4o-mini"))
    assert net.recorder.stop() == 0
    recorded = documents(data)
    assert recorded[0]["response"] == json.loads(whole)
    assert summary(recorded[1]["response"]) == summary(joined(events_in(streamed)))
    assert recorded[2]["response"] == json.loads(plain)
    where = [[document["exchange"][name] for name in ("mode", "scheme", "host", "port")] for document in recorded]
    assert where == [["transparent", "https", HOST, 443]] * 2 + [["transparent", "http", HOST, 80]]
    assert {document["exchange"]["outcome"] for document in recorded} == {"complete"}
    assert [sent.body for sent in net.secure_provider.sent] == [whole, streamed]
    assert [sent.body for sent in net.provider.sent] == [plain]


def test_the_openai_sdk_without_a_setting_for_the_proxy(net: Net, data: Path, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(SDK_CLIENT)
    trust = f"SSL_CERT_FILE={net.recorder.certificate}"
    client = ("env", trust, sys.executable, str(script), HOST, SERVER_ADDRESS)
    answer = output_of(*net.names.inside(net.names.client), *client)
    assert net.recorder.stop() == 0
    (document,) = documents(data)
    assert document["response"] == json.loads(answer)
    assert document["exchange"]["host"] == HOST

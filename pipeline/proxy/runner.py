"""Runs mitmproxy with the recorder in this process.

Only those of mitmproxy's addons run that passing traffic needs: each costs time at every event of every stream. The
caller's coroutine decides how long the proxy runs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import import_module
from pathlib import Path

from mitmproxy import exceptions, http, options
from mitmproxy.addons import (
    block,
    core,
    disable_h2c,
    dns_resolver,
    next_layer,
    proxyauth,
    proxyserver,
    strip_dns_https_records,
    tlsconfig,
    update_alt_svc,
    upstream_auth,
)
from mitmproxy.master import Master
from mitmproxy.tls import TlsData

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.addons.tapeline_recorder.hooks import Recorder

from ..errors import UsageError
from ..wire.terminal_text import one_line
from .fixes import install_fixes
from .modes import ListeningMode

# Responses that still run when the recording stops get this long.
DRAIN_SECONDS = 10.0
_DRAIN_STEP_SECONDS = 0.05
SEAL_SECONDS = 30.0
# Threads of Python switch after this long. With the default of five milliseconds, the journal's writer would delay
# events while it writes.
_SWITCH_SECONDS = 0.0005
# mitmproxy ends connections that are silent for ten minutes; models may think for longer.
IDLE_SECONDS = 86_400


@dataclass
class Proxy:
    """A proxy: where it records and listens, and what it has noticed."""

    directory: DataDirectory
    modes: list[ListeningMode]
    #: Whether streamed responses may go past mitmproxy's layers: it saves CPU and changes nothing else.
    has_fast_path: bool = True
    recorder: Recorder = field(default_factory=Recorder)
    distrusting: set[str] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)

    @property
    def certificate(self) -> Path:
        """The CA certificate that clients have to trust."""
        return self.directory.certificates / "mitmproxy-ca-cert.pem"


Body = Callable[[Proxy], Awaitable[int]]
Settings = tuple[str, ...]


async def run_proxy(proxy: Proxy, run: str, settings: Settings, body: Body, stop_now: asyncio.Event) -> int:
    """Run the proxy while `body` runs, let running responses end, and return what `body` returns.

    `settings` are mitmproxy options, as `name=value`. Raises UsageError for a mode, an option or a port that does
    not work.
    """
    master = _make_master(proxy, run, settings)
    watch = _Watch(proxy, asyncio.get_running_loop().create_future())
    master.addons.add(_PassOn(), watch)
    running = asyncio.create_task(master.run())
    try:
        await asyncio.wait((watch.ready, running), return_when=asyncio.FIRST_COMPLETED)
        _check_started(watch, running)
        with _short_delays():
            code = await body(proxy)
            await _drain(master, proxy.recorder, stop_now)
    finally:
        master.shutdown()
        await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(proxy.recorder.wait_until_sealed, SEAL_SECONDS)
    return code


def log_to_stderr() -> None:
    """Send warnings of mitmproxy and the recorder to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine("tapeline: %(message)s"))
    logging.getLogger().addHandler(handler)


def _make_master(proxy: Proxy, run: str, settings: Settings) -> Master:
    is_corrected = install_fixes()
    opts = options.Options(confdir=str(proxy.directory.certificates))
    master = Master(opts, event_loop=asyncio.get_running_loop(), with_termlog=False)
    if is_corrected and proxy.has_fast_path:
        import_module(".fast_path", __package__).install(master)
    master.addons.add(
        core.Core(),
        block.Block(),
        strip_dns_https_records.StripDnsHttpsRecords(),
        disable_h2c.DisableH2C(),
        proxyauth.ProxyAuth(),
        proxyserver.Proxyserver(),
        dns_resolver.DnsResolver(),
        next_layer.NextLayer(),
        tlsconfig.TlsConfig(),
        upstream_auth.UpstreamAuth(),
        update_alt_svc.UpdateAltSvc(),
        proxy.recorder,
    )
    # Reverse proxies connect when a request comes: connected beforehand, an upstream that is down gives the client an
    # empty reply. The other modes connect first, so that the client is offered the protocol the server speaks.
    lazy = any(mode.name == "reverse" for mode in proxy.modes)
    try:
        opts.update(
            mode=[mode.spec for mode in proxy.modes],
            connection_strategy="lazy" if lazy else "eager",
            tcp_timeout=IDLE_SECONDS,
            # Heads that mitmproxy finds suspicious pass as they would without it. They cannot affect other clients: a
            # connection to a provider serves one client's connection.
            validate_inbound_headers=False,
            tapeline_data=str(proxy.directory.root),
            tapeline_run=run,
        )
        opts.set(*settings)
    except exceptions.OptionsError as error:
        raise UsageError(str(error)) from error
    return master


@contextmanager
def _short_delays() -> Iterator[None]:
    """Keep pauses short: the garbage collector skips objects that exist now, and threads switch often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(usual)


def _check_started(watch: _Watch, running: asyncio.Task[None]) -> None:
    if running.done():
        reason = running.exception()
        raise UsageError(f"The proxy did not start: {reason or 'it ended at once'}.")
    if problem := watch.ready.result():
        raise UsageError(problem)


async def _drain(master: Master, recorder: Recorder, stop_now: asyncio.Event) -> None:
    """Close the listeners and let running responses end."""
    await master.addons.get("proxyserver").servers.update([])
    deadline = time.monotonic() + DRAIN_SECONDS
    if recorder.live:
        sys.stderr.write(f"Waiting up to {DRAIN_SECONDS:.0f} s for {recorder.live} running answers to end.\n")
    while recorder.live and not stop_now.is_set() and time.monotonic() < deadline:
        await asyncio.sleep(_DRAIN_STEP_SECONDS)


class _PassOn:
    """Lets bodies that are not recorded stream through as well: the proxy carries all of a command's traffic.

    It runs after the recorder, and leaves the recorder's stream callables alone.
    """

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None:  # mitmproxy cannot stream a request that an addon has answered
            flow.request.stream = flow.request.stream or True

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None:
            flow.response.stream = flow.response.stream or True


class _Watch:
    """Notices when the proxy listens, which clients reject its certificate, and which hosts cannot be reached."""

    def __init__(self, proxy: Proxy, ready: asyncio.Future[str | None]) -> None:
        self._proxy = proxy
        self.ready = ready

    def running(self) -> None:
        from mitmproxy import ctx

        failed = [
            server for server in ctx.master.addons.get("proxyserver").servers if server.last_exception is not None
        ]
        problem = f"Cannot listen: {failed[0].last_exception}" if failed else None
        if problem is None and not self._proxy.recorder.recording:
            problem = f"{self._proxy.directory.root} cannot be recorded to: name another with --data."
        if not self.ready.done():
            self.ready.set_result(problem)

    def http_connect_error(self, flow: http.HTTPFlow) -> None:
        """Note the host: the client fails before it sends its request, so there is no exchange to record."""
        if flow.response is not None and flow.response.status_code == HTTPStatus.BAD_GATEWAY:
            self._proxy.unreachable.add(f"{flow.request.host}:{flow.request.port}")

    def tls_failed_client(self, data: TlsData) -> None:
        self._proxy.distrusting.add(data.conn.sni or "an unnamed host")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))

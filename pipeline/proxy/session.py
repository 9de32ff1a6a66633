"""`tapeline record`: the proxy, the user's command beside it, signals, and the messages on stderr.

`modes` plans where to listen, `client_env` makes the command's environment, and `runner` runs the proxy.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory, private_directory

from ..errors import UsageError
from ..wire.terminal_text import one_line
from .client_env import client_environment, upstream_proxy, write_ca_bundle, write_trusted
from .modes import password_setting, plan_modes, reverse_mode, upstream_mode, warnings
from .runner import Proxy, log_to_stderr, run_proxy

# Enough for thousands of streams at once; the command inherits it.
OPEN_FILES = 65_536
_NO_PROXY = ("NO_PROXY", "no_proxy")
_TRUST = "ssl_verify_upstream_trusted_"
_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True)
class RecordOptions:
    """The options of `tapeline record`."""

    data: Path
    run: str = ""
    modes: tuple[str, ...] = ()
    upstream: str | None = None
    listen_host: str = "127.0.0.1"
    port: int | None = None
    proxyauth: str | None = None
    settings: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    fast_path: bool = True
    #: Print the addresses as a line of JSON to stdout as soon as the proxy listens.
    announce: bool = False


def record(recording: RecordOptions) -> int:
    """Record until a signal or the end of the command, and return the exit code. Raises UsageError."""
    if recording.command and shutil.which(recording.command[0]) is None:
        raise UsageError(f"{recording.command[0]!r} cannot be started: it is no program that can be found and run.")
    if recording.command and recording.proxyauth is not None:
        raise UsageError(
            "--proxyauth (TAPELINE_PROXYAUTH) is for clients that are started elsewhere: leave it out, or the command."
        )
    directory = DataDirectory(recording.data.expanduser().absolute())
    previous_umask = os.umask(0o077)
    try:
        directory.create()
        private_directory(directory.certificates)
    except OSError as error:
        raise UsageError(
            f"{error.filename or recording.data} cannot be written ({error.strerror}): name another with --data."
        ) from error
    specs, base_path, settings = _specs(recording)
    if not any(setting.startswith(_TRUST) for setting in settings):
        # mitmproxy trusts only certifi's list; a company's own authority is in the user's or the system's.
        trusted = write_trusted(directory.certificates / "trusted.pem", os.environ)
        settings = (*settings, f"{_TRUST}ca={trusted}")
    proxy = Proxy(
        directory, plan_modes(specs, recording.listen_host, recording.port), has_fast_path=recording.fast_path
    )
    if recording.proxyauth is not None:
        settings = (*settings, password_setting(recording.proxyauth, proxy.modes))
    for warning in warnings(proxy.modes, has_password=any(map(_asks_for_password, settings))):
        _say(warning)
    log_to_stderr()
    _allow_open_files()
    try:
        return asyncio.run(_record(recording, proxy, base_path, settings, previous_umask))
    finally:
        os.umask(previous_umask)


async def _record(recording: RecordOptions, proxy: Proxy, base_path: str, settings: tuple[str, ...], umask: int) -> int:
    stop, stop_now = asyncio.Event(), asyncio.Event()
    body: Callable[[Proxy], Awaitable[int]]
    if recording.command:
        environment = _command_environment(base_path)
        body = _beside_command(recording.command, environment, umask, base_path, stop_now)
    else:
        _on_signals(lambda _number: (stop_now if stop.is_set() else stop).set())
        body = _until(stop, base_path)
    if recording.announce:
        body = _announcing(body)
    code = await run_proxy(proxy, recording.run, settings, body, stop_now)
    _say(f"Recorded {proxy.recorder.seen:,} exchanges in run {proxy.recorder.run}.")
    if proxy.recorder.lost:
        _say(f"NOT RECORDED, or not wholly: {proxy.recorder.lost:,} of them. `tapeline doctor` says why.")
    _say_hints(proxy, bool(recording.command))
    return code


def _allow_open_files() -> None:
    """Raise the soft limit on open files: every exchange takes a connection on each side."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _specs(recording: RecordOptions) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Return mode specs, the path that clients put behind a reverse proxy's address, and mitmproxy options."""
    if recording.upstream is not None:
        spec, base_path = reverse_mode(recording.upstream)
        if upstream_proxy(os.environ) is not None:
            _say("The proxy that the environment names is not used: --upstream is reached directly.")
        return (spec, *recording.modes), base_path, recording.settings
    if recording.modes:
        return recording.modes, "/v1", recording.settings
    if (through := upstream_proxy(os.environ)) is None:
        return ("regular",), "/v1", recording.settings
    spec, credentials = upstream_mode(through)
    _say(f"Going through the proxy that the environment names: {spec.partition(':')[2]}")
    extra = (f"upstream_auth={credentials}",) if credentials else ()
    return (spec,), "/v1", (*recording.settings, *extra)


def _asks_for_password(setting: str) -> bool:
    name, _, value = setting.partition("=")
    return name == "proxyauth" and bool(value)


def _until(stop: asyncio.Event, base_path: str) -> Callable[[Proxy], Awaitable[int]]:
    async def wait(proxy: Proxy) -> int:
        _say_ready(proxy, base_path)
        _say("Ctrl-C ends the recording.")
        await stop.wait()
        return 0

    return wait


def _announcing(body: Callable[[Proxy], Awaitable[int]]) -> Callable[[Proxy], Awaitable[int]]:
    """Print the addresses as a line of JSON to stdout first: another process reads them."""

    async def announce(proxy: Proxy) -> int:
        addresses = [mode.address for mode in proxy.modes if mode.name in ("reverse", "regular", "upstream")]
        sys.stdout.write(json.dumps({"run": proxy.recorder.run, "addresses": addresses}) + "\n")
        sys.stdout.flush()
        return await body(proxy)

    return announce


def _beside_command(
    command: tuple[str, ...],
    environment: Callable[[Proxy], dict[str, str]],
    umask: int,
    base_path: str,
    stop_now: asyncio.Event,
) -> Callable[[Proxy], Awaitable[int]]:
    async def run(proxy: Proxy) -> int:
        _say_ready(proxy, base_path)
        try:
            child = await asyncio.create_subprocess_exec(*command, env=environment(proxy), umask=umask)
        except OSError as error:
            raise UsageError(f"{command[0]!r} cannot be started: {error.strerror}.") from error

        def pass_on(number: int) -> None:
            # A Ctrl-C reaches the command from the terminal itself; other signals are passed on.
            if number != signal.SIGINT and child.returncode is None:
                child.send_signal(number)
            elif child.returncode is not None:
                stop_now.set()

        _on_signals(pass_on)
        code = await child.wait()
        return code if code >= 0 else 128 - code

    return run


def _command_environment(base_path: str) -> Callable[[Proxy], dict[str, str]]:
    def make(proxy: Proxy) -> dict[str, str]:
        environment = dict(os.environ)
        forward = next((mode for mode in proxy.modes if mode.name in ("regular", "upstream")), None)
        reverse = next((mode for mode in proxy.modes if mode.name == "reverse"), None)
        if forward is not None:
            bundle = write_ca_bundle(proxy.directory.certificates / "bundle.pem", proxy.certificate, environment)
            environment = client_environment(environment, proxy_url=forward.address, ca_bundle=bundle)
            if forward.name == "upstream":
                # Hosts that clients reach without the other proxy may not be reachable through it.
                environment |= {name: os.environ[name] for name in _NO_PROXY if name in os.environ}
        elif reverse is not None:
            # Beside a forward proxy the base URL stays as it is: that proxy records all traffic.
            environment["OPENAI_BASE_URL"] = reverse.address + base_path
            for name in _NO_PROXY:
                hosts = (environment.get(name), urlsplit(reverse.address).hostname)
                environment[name] = ",".join(filter(None, hosts))
        return environment

    return make


def _on_signals(handle: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, handle, number)


def _say_ready(proxy: Proxy, base_path: str) -> None:
    _say(f"Recording run {proxy.recorder.run} into {proxy.directory.root}")
    for mode in proxy.modes:
        if mode.name == "reverse":
            _say(f"  {mode.address} -> {mode.target}   use it as: OPENAI_BASE_URL={mode.address}{base_path}")
        elif mode.name in ("regular", "upstream"):
            _say(f"  {mode.address} is a proxy for any host   use it as: HTTPS_PROXY={mode.address}")
            _say(f"  clients trust it by the certificate {proxy.certificate}")
        else:
            _say(f"  {mode.spec}")


def _say_hints(proxy: Proxy, with_command: bool) -> None:
    for host in sorted(proxy.distrusting):
        _say(
            f"A client rejected the proxy's certificate for {host}: let it trust {proxy.certificate}, or use "
            "`tapeline record --upstream URL`, which needs no certificate."
        )
    for host in sorted(proxy.unreachable):
        _say(f"{host} could not be reached, by whom and for what is not known: such attempts are in no recording.")
    if with_command and not proxy.recorder.seen and not proxy.distrusting and not proxy.unreachable:
        if any(mode.name == "reverse" for mode in proxy.modes):
            reason, way_out = "does not use OPENAI_BASE_URL", "Give it the address above as its base URL."
        else:
            reason = "goes past the proxy"
            way_out = "Try `tapeline record --upstream URL -- CMD`, which sets OPENAI_BASE_URL."
        _say(f"No chat completion was seen: the command made none, or {reason}. {way_out}")


def _say(text: str) -> None:
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()

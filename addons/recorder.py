"""The mitmproxy addon: records chat-completion traffic as it passes, and never stands in its way.

    mitmdump -s addons/recorder.py --set tapeline_data=.tapeline

It notes bytes and the times they came at, and hands them to the journal's writer thread. It parses no body, joins
nothing and waits for nothing: that is sealing's work, which runs in a process of its own where Tapeline is
installed, and later, by `tapeline load`, where it is not. Needs nothing but mitmproxy and the standard library.
"""

from __future__ import annotations

import logging
import platform
import re
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from mitmproxy import connection, ctx, exceptions, http, version
from mitmproxy.addonmanager import Loader

if TYPE_CHECKING or __package__ == "tapeline.addons":
    from .tapeline_paths import DEFAULT_DATA, DataDirectory
    from .tapeline_privacy import (
        REQUEST_HEADERS,
        RESPONSE_HEADERS,
        find_key,
        fingerprint,
        kept_headers,
        kept_path,
        load_salt,
    )
    from .tapeline_sealing import Sealing, can_seal
    from .tapeline_station import Station
    from .tapeline_writer import JournalWriter
else:  # As a script: mitmproxy runs this file outside its package, with this folder on sys.path.
    from tapeline_paths import DEFAULT_DATA, DataDirectory
    from tapeline_privacy import (
        REQUEST_HEADERS,
        RESPONSE_HEADERS,
        find_key,
        fingerprint,
        kept_headers,
        kept_path,
        load_salt,
    )
    from tapeline_sealing import Sealing, can_seal
    from tapeline_station import Station
    from tapeline_writer import JournalWriter

logger = logging.getLogger(__name__)

DEFAULT_PATH = r"/chat/completions/?$"
# Images and recordings travel in bodies, of tens of megabytes at most; far above lies what is no chat.
DEFAULT_MAX_BODY = 256 * 1024 * 1024
OVER_LIMIT = "over tapeline_max_body"


class Capture:
    """One exchange while it passes. Times are microseconds since its start by the monotonic clock.

    No dataclass: those look their module up in `sys.modules`, where a script that mitmproxy runs does not stand.
    """

    def __init__(self, number: int, client_id: str, writer: JournalWriter, max_body: int) -> None:
        self.number = number
        self.exchange_id = uuid7(time.time_ns())
        self.client_id = client_id
        self.request_done = False
        self.response_done = False
        self.ended = False
        self.times: dict[str, int] = {}
        self.writer = writer
        self._room = {"request": max_body, "response": max_body}
        self._is_over_limit = False
        self._began_ns = time.monotonic_ns()

    def now_us(self) -> int:
        return (time.monotonic_ns() - self._began_ns) // 1000

    def tee(self, part: str) -> Callable[[bytes], bytes]:
        """A stream callable that notes each chunk and returns it unchanged, whatever happens inside."""

        def note_chunk(data: bytes) -> bytes:
            if data and not self.ended:
                try:
                    self._note(part, data)
                except Exception as error:  # noqa: BLE001 - nobody else guards a stream callable: the chunk would be lost
                    with suppress(Exception):
                        self.give_up(error)
            return data

        return note_chunk

    def end(self, **ending: Any) -> None:
        """Write the exchange's end, once; what comes later is not part of it."""
        if not self.ended:
            self.writer.add("ending", self.number, {"ended_us": self.now_us(), **self.times, **ending})
            self.ended = True

    def give_up(self, error: Exception) -> None:
        """Record nothing more after a fault, and count the exchange, once."""
        if not self.ended:
            self.ended = True
            self.writer.count_fault(f"recorder: {error!r}", self.number)

    def _note(self, part: str, data: bytes) -> None:
        at_us, room = self.now_us(), self._room[part]
        if len(data) <= room:
            self._room[part] = room - len(data)
            self.writer.add(part, self.number, (at_us, data))
            return
        skipped = len(data) - room
        self._room[part] = 0
        if room:
            self.writer.add(part, self.number, (at_us, data[:room]))
        self.writer.add(f"{part}_skipped", self.number, (at_us, skipped))
        self.writer.count_loss(OVER_LIMIT, 0 if self._is_over_limit else 1, skipped)
        self._is_over_limit = True


class Recorder:
    """Records every `POST` whose path matches; one journal a recorder, from `running` to `done`."""

    def __init__(self) -> None:
        self.seen = 0
        self.run = ""
        self.recorder_id = ""
        self._lost = 0
        self._captures: dict[str, Capture] = {}
        self._counted_connections: WeakSet[connection.Server] = WeakSet()
        self._path = re.compile(DEFAULT_PATH)
        self._salt = b""
        self._writer: JournalWriter | None = None
        self._sealing: Sealing | None = None

    @property
    def recording(self) -> bool:
        """Whether there is a journal to write to."""
        return self._writer is not None

    @property
    def lost(self) -> int:
        """Exchanges that are not recorded so far, or not wholly."""
        return self._lost if self._writer is None else self._writer.lost

    @property
    def live(self) -> int:
        """Exchanges that are passing now."""
        return len(self._captures)

    def load(self, loader: Loader) -> None:
        loader.add_option("tapeline_data", str, DEFAULT_DATA, "Directory that holds the recordings.")
        loader.add_option("tapeline_run", str, "", "Label of this recording; the time of its start if empty.")
        loader.add_option(
            "tapeline_path", str, DEFAULT_PATH, "Regular expression; a POST whose path matches is recorded."
        )
        loader.add_option(
            "tapeline_max_body",
            int,
            DEFAULT_MAX_BODY,
            "Bytes kept of a request's body, and of an answer's; all of it passes.",
        )
        loader.add_option(
            "tapeline_seal",
            bool,
            True,
            "Seal while recording, in a second process, if Tapeline is installed.",
        )

    def configure(self, updated: set[str]) -> None:
        if "tapeline_path" in updated:
            try:
                self._path = re.compile(ctx.options.tapeline_path)
            except re.error as error:
                raise exceptions.OptionsError(
                    f"tapeline_path is not a regular expression ({error}): {ctx.options.tapeline_path!r}"
                ) from error
        if "tapeline_max_body" in updated and ctx.options.tapeline_max_body < 0:
            raise exceptions.OptionsError(
                f"tapeline_max_body is a number of bytes, not {ctx.options.tapeline_max_body}."
            )
        if self._writer is not None and updated & {"tapeline_data", "tapeline_run"}:
            raise exceptions.OptionsError(
                "tapeline_data and tapeline_run stay as they are while recording: restart to change them."
            )

    def running(self) -> None:
        try:
            self._open()
        except (OSError, ValueError, sqlite3.Error) as error:
            logger.error(
                "Tapeline cannot record to %s: %s. Set tapeline_data to a directory that can be written.",
                ctx.options.tapeline_data,
                error,
            )
        else:
            logger.info("Tapeline records to %s (run %s)", ctx.options.tapeline_data, self.run)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self._is_chat(flow):
            flow.request.stream = True  # also where recording it fails
            self._shield(self._begin, flow)

    def request(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_request_end, flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and self._is_chat(flow):
            flow.response.stream = True
        self._shield(self._note_answer, flow)

    def response(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_response_end, flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_error, flow)

    def client_disconnected(self, client: connection.Client) -> None:
        """An answer that came before its request was whole ends here: of such a request nothing more is heard."""
        for flow_id, capture in list(self._captures.items()):
            if capture.client_id == client.id and capture.response_done:
                capture.end(how="response")
                del self._captures[flow_id]

    def done(self) -> None:
        """mitmproxy is stopping: streams that still run end here, with what they have."""
        for capture in self._captures.values():
            with suppress(Exception):
                capture.end(how="stopped")
        self._captures.clear()
        if self._writer is not None:
            self._writer.close()
            self._lost, self._writer = self._writer.lost, None
        if self._sealing is not None:
            self._sealing.end()

    def wait_until_sealed(self, seconds: float) -> bool:
        """After `done`: wait for the sealing process's last pass; False when it took longer or never ran."""
        return self._sealing is not None and self._sealing.wait(seconds)

    def _open(self) -> None:
        directory = DataDirectory(Path(ctx.options.tapeline_data).expanduser().absolute())
        now = time.gmtime()
        self.run = ctx.options.tapeline_run or time.strftime("%Y%m%d-%H%M%S", now)
        self.recorder_id = f"{time.strftime('%Y%m%dt%H%M%Sz', now)}-{secrets.token_hex(3)}"
        about = {
            "recorder_id": self.recorder_id,
            "run": self.run,
            "mitmproxy": version.VERSION,
            "python": platform.python_version(),
        }
        directory.create()
        self._salt = load_salt(directory.salt)
        self._writer = JournalWriter(Station(directory, about))
        if ctx.options.tapeline_seal and can_seal():
            self._sealing = Sealing(directory.root, directory.seal_log)
            self._sealing.start()

    def _is_chat(self, flow: http.HTTPFlow) -> bool:
        return flow.request.method == "POST" and bool(self._path.search(flow.request.path.partition("?")[0]))

    def _shield(self, step: Callable[[http.HTTPFlow], None], flow: http.HTTPFlow) -> None:
        try:
            step(flow)
        except Exception as error:  # noqa: BLE001 - a recording fault is counted, never passed on to the traffic
            capture = self._captures.pop(flow.id, None)
            if capture is not None:
                capture.give_up(error)
            elif self._writer is not None:
                self._writer.count_fault(f"recorder: {error!r}")

    def _begin(self, flow: http.HTTPFlow) -> None:
        if self._writer is None:
            return
        self.seen += 1
        capture = Capture(self.seen, flow.client_conn.id, self._writer, ctx.options.tapeline_max_body)
        self._captures[flow.id] = capture
        request = flow.request
        headers = list(request.headers.items(multi=True))
        key = find_key(headers, request.path)
        head = {
            "exchange_id": capture.exchange_id,
            "run": self.run,
            "started_at_us": time.time_ns() // 1000,
            "client_connection_id": flow.client_conn.id,
            "mode": flow.client_conn.proxy_mode.type_name,
            "scheme": request.scheme,
            "host": request.pretty_host,
            "port": request.port,
            "path": kept_path(request.path),
            "http_version": request.http_version,
            "headers": kept_headers(headers, REQUEST_HEADERS),
            "api_key_id": fingerprint(key, self._salt) if key else None,
        }
        self._writer.add("head", capture.number, head)
        request.stream = capture.tee("request")

    def _note_request_end(self, flow: http.HTTPFlow) -> None:
        if capture := self._captures.get(flow.id):
            capture.request_done = True
            capture.times.setdefault("request_sent_us", capture.now_us())
            self._end_if_done(flow, capture)

    def _note_answer(self, flow: http.HTTPFlow) -> None:
        capture = self._captures.get(flow.id)
        if capture is None or flow.response is None:
            return
        flow.response.stream = capture.tee("response")
        capture.times["response_headers_us"] = capture.now_us()
        headers = flow.response.headers.items(multi=True)
        answer = {
            "status_code": flow.response.status_code,
            "http_version": flow.response.http_version,
            "headers": kept_headers(headers, RESPONSE_HEADERS),
            **capture.times,
            **self._connection_times(flow),
        }
        capture.writer.add("answer", capture.number, answer)

    def _note_response_end(self, flow: http.HTTPFlow) -> None:
        if capture := self._captures.get(flow.id):
            capture.response_done = True
            self._end_if_done(flow, capture)

    def _note_error(self, flow: http.HTTPFlow) -> None:
        if capture := self._captures.get(flow.id):
            capture.end(
                how="response" if capture.response_done else "error",
                error=flow.error.msg if flow.error else None,
                client_connected=flow.client_conn.connected,
                server_connected=flow.server_conn.connected,
                server_reached=flow.server_conn.timestamp_tcp_setup is not None,
            )
            del self._captures[flow.id]

    def _end_if_done(self, flow: http.HTTPFlow, capture: Capture) -> None:
        # A server may answer before it has all of the request, whose bytes are still to come then.
        if capture.request_done and capture.response_done:
            capture.end(how="response")
            self._captures.pop(flow.id, None)

    def _connection_times(self, flow: http.HTTPFlow) -> dict[str, int]:
        """Times of connecting, where it is this exchange that opened the connection."""
        server = flow.server_conn
        if server in self._counted_connections or not server.timestamp_tcp_setup:
            return {}
        self._counted_connections.add(server)
        times = {}
        if server.timestamp_start:
            times["connect_us"] = _microseconds(server.timestamp_tcp_setup - server.timestamp_start)
        if server.timestamp_tls_setup:
            times["tls_us"] = _microseconds(server.timestamp_tls_setup - server.timestamp_tcp_setup)
        return times


def _microseconds(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))


def uuid7(now_ns: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): milliseconds first, so that ids sort by time."""
    value = (now_ns // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


addons = [Recorder()]

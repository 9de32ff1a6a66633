"""The mitmproxy addon: records chat-completion traffic as it passes, and never gets in its way.

    mitmdump -s addons/recorder.py --set tapeline_data=.tapeline

It hands bytes and the times at which they came to the journal's writer thread. It parses no body and waits for nothing:
sealing does that, in a process of its own where Tapeline is installed, or later by `tapeline load`. It needs mitmproxy
and the standard library alone.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from mitmproxy import connection, contentviews, ctx, http, version
from mitmproxy.addonmanager import Loader

from .capture import SILENT, Capture
from .contentview import ChatContentview
from .data_directory import DataDirectory
from .headers import REQUEST_HEADERS, RESPONSE_HEADERS, find_key, fingerprint, kept_headers, kept_path, load_salt
from .journal_entries import Answer, Head, StageTimes
from .journal_writer import JournalWriter
from .keyed_hash import keyed_hash
from .masking import credentials_in, masks_for
from .options import DEFAULT_PATH, add_options, check_options, compiled
from .recorder_files import RecorderFiles
from .seal_process import Sealing, can_seal

logger = logging.getLogger(__name__)


class Recorder:
    """Records every `POST` whose path matches, into one journal from `running` to `done`."""

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
        """Exchanges that are lost so far, or are not complete."""
        return self._lost if self._writer is None else self._writer.lost

    @property
    def live(self) -> int:
        """Exchanges that are passing now."""
        return len(self._captures)

    def load(self, loader: Loader) -> None:
        add_options(loader)

    def configure(self, updated: set[str]) -> None:
        check_options(updated, is_recording=self.recording)
        if "tapeline_path" in updated:
            self._path = compiled("tapeline_path", ctx.options.tapeline_path)

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
        if ctx.master.addons.get("view") is not None:
            # Somebody looks at flows: keep the bodies that stream through, and show them as conversations.
            ctx.options.store_streamed_bodies = True
            contentviews.add(ChatContentview(self._is_recorded))

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # A flow that an addon has answered already (a missing proxy password, say) goes to no provider.
        if flow.response is None and self._is_recorded(flow):
            flow.request.stream = True  # also if recording it fails
            self._shield(self._begin, flow)

    def request(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_request_end, flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and self._is_recorded(flow):
            flow.response.stream = True
        self._shield(self._note_response, flow)

    def response(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_response_end, flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._shield(self._note_error, flow)

    def client_disconnected(self, client: connection.Client) -> None:
        """End exchanges whose response came before their request was complete: nothing more comes of the request."""
        for flow_id, capture in list(self._captures.items()):
            if capture.client_id == client.id and capture.response_done:
                capture.end({"how": "response"})
                del self._captures[flow_id]

    def done(self) -> None:
        """End the streams that still run, with the bytes that they have: mitmproxy is stopping."""
        for capture in self._captures.values():
            with suppress(Exception):
                capture.end({"how": "stopped"})
        self._captures.clear()
        if self._writer is not None:
            self._writer.close()
            self._lost, self._writer = self._writer.lost, None
        if self._sealing is not None:
            self._sealing.end()

    def wait_until_sealed(self, seconds: float) -> bool:
        """After `done`, wait for the sealing process's last pass; return False if it took longer or never ran."""
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
            "redact": ctx.options.tapeline_redact,
            "redact_patterns": json.dumps(list(ctx.options.tapeline_redact_pattern)),
            "content": "kept" if ctx.options.tapeline_content else "none",
        }
        directory.create()
        self._salt = load_salt(directory.salt)
        self._writer = JournalWriter(RecorderFiles(directory, about))
        if ctx.options.tapeline_seal and can_seal():
            self._sealing = Sealing(directory.root, directory.seal_log)
            self._sealing.start()

    def _is_recorded(self, flow: http.HTTPFlow) -> bool:
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
        request = flow.request
        headers = list(request.headers.items(multi=True))
        credentials = credentials_in(headers, request.path, frozenset(REQUEST_HEADERS))
        masks = masks_for(credentials, self._salt)
        capture = Capture(self.seen, flow.client_conn.id, self._writer, ctx.options.tapeline_max_body, masks)
        self._captures[flow.id] = capture
        key = find_key(headers, request.path)
        head: Head = {
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
            "credentials": [(len(credential), keyed_hash(credential, self._salt)) for credential in credentials],
        }
        self._writer.add("head", capture.number, head)
        request.stream = capture.tee("request")

    def _note_request_end(self, flow: http.HTTPFlow) -> None:
        if capture := self._captures.get(flow.id):
            capture.request_done = True
            capture.times.setdefault("request_sent_us", capture.now_us())
            self._end_if_done(flow, capture)

    def _note_response(self, flow: http.HTTPFlow) -> None:
        capture = self._captures.get(flow.id)
        if capture is None or flow.response is None:
            return
        flow.response.stream = capture.tee("response")
        capture.times["response_headers_us"] = capture.now_us()
        headers = flow.response.headers.items(multi=True)
        answer: Answer = {
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
            is_silent = flow.client_conn.error == SILENT
            capture.end(
                {
                    "how": "response" if capture.response_done else "error",
                    "error": SILENT if is_silent else flow.error.msg if flow.error else None,
                    # If both sides are silent, the side that has finished sending is waiting for the other.
                    "client_connected": flow.client_conn.connected or (is_silent and capture.request_done),
                    "server_connected": flow.server_conn.connected,
                    "server_reached": is_reached(flow),
                }
            )
            del self._captures[flow.id]

    def _end_if_done(self, flow: http.HTTPFlow, capture: Capture) -> None:
        # A server may respond before it has the whole request; then the rest of the request is still to come.
        if capture.request_done and capture.response_done:
            capture.end({"how": "response"})
            self._captures.pop(flow.id, None)

    def _connection_times(self, flow: http.HTTPFlow) -> StageTimes:
        """Return how long connecting took, if this exchange opened the connection."""
        server = flow.server_conn
        if server in self._counted_connections or not server.timestamp_tcp_setup:
            return {}
        self._counted_connections.add(server)
        return connecting_times(server)


def connecting_times(server: connection.Server) -> StageTimes:
    """Return how long connecting to a server and the TLS handshake took, in microseconds."""
    times: StageTimes = {}
    # mitmproxy reads these times from a clock that may be set in between.
    if (connect_us := _microseconds(server.timestamp_start, server.timestamp_tcp_setup)) is not None:
        times["connect_us"] = connect_us
    if (tls_us := _microseconds(server.timestamp_tcp_setup, server.timestamp_tls_setup)) is not None:
        times["tls_us"] = tls_us
    return times


def _microseconds(start: float | None, end: float | None) -> int | None:
    return round((end - start) * 1_000_000) if start and end and end >= start else None


def is_reached(flow: http.HTTPFlow) -> bool:
    """Whether this flow had a connection to the server; one that an earlier flow left does not count."""
    server = flow.server_conn
    was_over = server.timestamp_end is not None and server.timestamp_end < flow.request.timestamp_start
    return server.timestamp_tcp_setup is not None and server.error is None and not was_over

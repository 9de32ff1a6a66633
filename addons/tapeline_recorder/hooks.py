"""The mitmproxy addon: records chat-completion traffic as it passes, and never stands in its way.

    mitmdump -s addons/recorder.py --set tapeline_data=.tapeline

It notes bytes and the times they came at, and hands them to the journal's writer thread. It parses no body, joins
nothing and waits for nothing: that is sealing's work, which runs in a process of its own where Tapeline is
installed, and later, by `tapeline load`, where it is not. Needs nothing but mitmproxy and the standard library.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from mitmproxy import connection, contentviews, ctx, exceptions, http, version
from mitmproxy.addonmanager import Loader

from .capture import DEFAULT_PATH, SILENT, Capture
from .contentview import ChatContentview
from .data_directory import DEFAULT_DATA, DataDirectory
from .headers import REQUEST_HEADERS, RESPONSE_HEADERS, find_key, fingerprint, kept_headers, kept_path, load_salt
from .journal_writer import JournalWriter
from .keyed_hash import keyed_hash
from .masking import credentials_in, masks_for
from .recorder_files import RecorderFiles
from .seal_process import Sealing, can_seal

logger = logging.getLogger(__name__)

# Images and recordings travel in bodies, of tens of megabytes at most; far above lies what is no chat.
DEFAULT_MAX_BODY = 256 * 1024 * 1024
REDACT = ("credentials", "none")
# What a recording is to keep; its journal says it, and sealing follows it.
_STAYING = {"tapeline_data", "tapeline_run", "tapeline_redact", "tapeline_redact_pattern", "tapeline_content"}


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
            "tapeline_redact",
            str,
            "credentials",
            "What is replaced in what bodies say: credentials of known formats, or none.",
            choices=REDACT,
        )
        loader.add_option(
            "tapeline_redact_pattern",
            Sequence[str],
            [],
            "Regular expressions of what else is replaced; the group, if there is one, or all of the match.",
        )
        loader.add_option(
            "tapeline_content",
            bool,
            True,
            "Keep what requests and answers say; without it sizes, hashes and figures alone.",
        )
        loader.add_option(
            "tapeline_seal",
            bool,
            True,
            "Seal while recording, in a second process, if Tapeline is installed.",
        )

    def configure(self, updated: set[str]) -> None:
        if "tapeline_path" in updated:
            self._path = _compiled("tapeline_path", ctx.options.tapeline_path)
        for pattern in ctx.options.tapeline_redact_pattern if "tapeline_redact_pattern" in updated else ():
            _compiled("tapeline_redact_pattern", pattern)
        if "tapeline_max_body" in updated and ctx.options.tapeline_max_body < 0:
            raise exceptions.OptionsError(
                f"tapeline_max_body is a number of bytes, not {ctx.options.tapeline_max_body}."
            )
        if self._writer is not None and (changed := updated & _STAYING):
            raise exceptions.OptionsError(
                f"{' and '.join(sorted(changed))} cannot change while recording: restart to change it."
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
        if ctx.master.addons.get("view") is not None:
            # Somebody looks: bodies that stream through are kept for the eye, and shown as what they say.
            ctx.options.store_streamed_bodies = True
            contentviews.add(ChatContentview(self._is_chat))

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        # What an addon has answered already, a proxy without its password for one, goes to no provider.
        if flow.response is None and self._is_chat(flow):
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
        request = flow.request
        headers = list(request.headers.items(multi=True))
        credentials = credentials_in(headers, request.path, frozenset(REQUEST_HEADERS))
        masks = masks_for(credentials, self._salt)
        capture = Capture(self.seen, flow.client_conn.id, self._writer, ctx.options.tapeline_max_body, masks)
        self._captures[flow.id] = capture
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
            "credentials": [(len(credential), keyed_hash(credential, self._salt)) for credential in credentials],
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
            is_silent = flow.client_conn.error == SILENT
            capture.end(
                how="response" if capture.response_done else "error",
                error=SILENT if is_silent else flow.error.msg if flow.error else None,
                # Of two that are silent, the one that has said all it had to say waits for the other.
                client_connected=flow.client_conn.connected or (is_silent and capture.request_done),
                server_connected=flow.server_conn.connected,
                server_reached=is_reached(flow),
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
        return connecting_times(server)


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise exceptions.OptionsError(f"{option} is not a regular expression ({error}): {pattern!r}") from error


def connecting_times(server: connection.Server) -> dict[str, int]:
    """How long connecting to a server took, in microseconds."""
    steps = {
        "connect_us": (server.timestamp_start, server.timestamp_tcp_setup),
        "tls_us": (server.timestamp_tcp_setup, server.timestamp_tls_setup),
    }
    # mitmproxy takes these times by a clock that may be set in between.
    return {
        name: round((end - start) * 1_000_000) for name, (start, end) in steps.items() if start and end and end >= start
    }


def is_reached(flow: http.HTTPFlow) -> bool:
    """Whether there was a connection to the server, as far as it is this flow's: one may be left of an earlier."""
    server = flow.server_conn
    was_over = server.timestamp_end is not None and server.timestamp_end < flow.request.timestamp_start
    return server.timestamp_tcp_setup is not None and server.error is None and not was_over

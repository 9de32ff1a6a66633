"""The releases of other packages that this one reaches into, and the private names it uses there, all in one place.

A part whose packages are all of a release listed here may reach in. With any other release it stays away: the fast path
leaves the traffic to mitmproxy and the corrections, and a correction leaves it to mitmproxy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

#: Releases whose insides the tests of the proxy have passed with.
TESTED = {
    "mitmproxy": ("12.2.3",),
    "h2": ("4.3.0",),
    "h11": ("0.16.0",),
    "pyOpenSSL": ("26.2.0",),
}


@dataclass(frozen=True)
class Insides:
    """What one part reaches into: packages, and private names in them as `module:qualified.name`.

    `patched` names get another value while the part is installed; `read` names are called, derived from or looked at.
    An attribute that instances have is written `module:Class().attribute`.
    """

    packages: tuple[str, ...]
    patched: tuple[str, ...] = ()
    read: tuple[str, ...] = ()

    def untested(self) -> list[str]:
        """The packages whose release is not a tested one, each as `name version`."""
        installed = {package: _installed(package) for package in self.packages}
        return [f"{package} {release}" for package, release in installed.items() if release not in TESTED[package]]


_HTTP = "mitmproxy.proxy.layers.http"

#: `fixes`: corrections to how mitmproxy speaks HTTP/1 and chooses connections.
FIXES = Insides(
    packages=("mitmproxy", "h11", "h2"),
    patched=(
        f"{_HTTP}:GetHttpConnection",
        f"{_HTTP}:Http1Client",
        f"{_HTTP}:Http1Server",
        f"{_HTTP}:Http2Client",
        f"{_HTTP}:Http2Server",
        f"{_HTTP}:HttpStream",
        "mitmproxy.proxy.mode_servers:ProxyConnectionHandler",
    ),
    read=(
        f"{_HTTP}._base:HttpEvent",
        f"{_HTTP}._base:ReceiveHttp",
        f"{_HTTP}._events:ResponseHeaders",
        f"{_HTTP}._hooks:HttpErrorHook",
        f"{_HTTP}._http1:Http1Client",
        f"{_HTTP}._http1:Http1Connection",
        f"{_HTTP}._http1:Http1Connection().body_reader",
        f"{_HTTP}._http1:Http1Connection().buf",
        f"{_HTTP}._http1:Http1Server",
        f"{_HTTP}._http2:Http2Client",
        f"{_HTTP}._http2:Http2Connection",
        f"{_HTTP}._http2:Http2Connection().h2_conn",
        f"{_HTTP}._http2:parse_h2_response_headers",
        "h11._readers:ChunkedReader",
        "h2.connection:H2Connection()._frame_dispatch_table",
    ),
)

#: `fast_path`: the way of streamed responses past mitmproxy's layers.
FAST_PATH = Insides(
    packages=("mitmproxy", "h11", "h2"),
    patched=(
        f"{_HTTP}:Http1Client",
        f"{_HTTP}:Http2Client",
        f"{_HTTP}:HttpStream",
        "mitmproxy.proxy.layers.tls:TLSLayer.receive_data",
        "mitmproxy.proxy.mode_servers:ProxyConnectionHandler",
    ),
    read=(
        f"{_HTTP}._http_h2:BufferedH2Connection().stream_buffers",
        f"{_HTTP}._http2:StreamState",
        "asyncio:Lock()._locked",
        "asyncio:Lock()._waiters",
        "asyncio:StreamReader()._buffer",
        "asyncio:StreamReader()._waiter",
        "asyncio:StreamReaderProtocol()._paused",
        "asyncio:StreamWriter()._protocol",
        "h11._readers:ChunkedReader()._bytes_in_chunk",
        "h11._readers:ChunkedReader()._bytes_to_discard",
        "h11._readers:ChunkedReader()._reading_trailer",
        "h2.connection:H2Connection()._data_to_send",
        "h2.connection:H2Connection()._inbound_flow_control_window_manager",
        "h2.connection:H2Connection().incoming_buffer",
        "h2.frame_buffer:FrameBuffer()._data",
        "h2.frame_buffer:FrameBuffer()._headers_buffer",
        "h2.stream:H2Stream()._actual_content_length",
        "h2.stream:H2Stream()._expected_content_length",
        "h2.stream:H2Stream()._inbound_window_manager",
        "h2.windows:WindowManager()._bytes_processed",
        "mitmproxy.proxy.layer:Layer()._paused",
        "mitmproxy.proxy.server:ConnectionHandler()._server_event_lock",
    ),
)

#: `fast_path.tls`: OpenSSL asked directly, on connections that pyOpenSSL has opened.
FAST_TLS = Insides(
    packages=("pyOpenSSL",),
    read=(
        "OpenSSL.SSL:Connection()._from_ssl",
        "OpenSSL.SSL:Connection()._into_ssl",
        "OpenSSL.SSL:Connection()._raise_ssl_error",
        "OpenSSL.SSL:Connection()._ssl",
        "OpenSSL.SSL:_ffi",
        "OpenSSL.SSL:_lib",
    ),
)


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"

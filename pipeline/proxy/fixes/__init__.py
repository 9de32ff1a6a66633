"""Corrections to mitmproxy: without them traffic hangs, is cut, or loses something that it would keep without a proxy.

Each correction is a class that derives from mitmproxy's and changes one matter. Its docstring names the upstream issue,
and a test in `tests/unit/proxy/fixes` fails as soon as mitmproxy does not need it any more.
"""

from __future__ import annotations

import logging

from ..releases import FIXES

logger = logging.getLogger(__name__)


def install_fixes() -> bool:
    """Correct all connections that this process opens from now on; False where the releases are not tested ones.

    mitmproxy looks its classes up in its modules by name, so that is where the corrected ones are put.
    """
    if untested := FIXES.untested():
        logger.warning(
            "Corrections to mitmproxy are off, because they were not tested with %s: early hints, trailers and drained "
            "HTTP/2 connections pass as mitmproxy passes them.",
            ", ".join(untested),
        )
        return False
    from mitmproxy.proxy import mode_servers
    from mitmproxy.proxy.layers import http as layers

    from . import connections, http1, http2

    corrections: tuple[type, ...] = (http1.HttpStream, http1.Http1Server, http1.Http1Client)
    corrections += (http2.Http2Server, http2.Http2Client, http2.GetHttpConnection)
    for correction in corrections:
        setattr(layers, correction.__name__, correction)
    mode_servers.ProxyConnectionHandler = connections.ProxyConnectionHandler  # type: ignore[misc]
    return True

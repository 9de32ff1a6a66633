"""Speed alone: delete this folder and the lines of `runner` that install it, and everything still works.

A streamed response takes mitmproxy's own way until its body streams. From then on each piece is given to the recorder
and written to the client, past the layers in between. Whatever is no such piece takes mitmproxy's way.
"""

from __future__ import annotations

import logging

from mitmproxy.master import Master

from ..releases import FAST_PATH

logger = logging.getLogger(__name__)


def install(master: Master) -> bool:
    """Speed up all connections that this process opens from now on; False where the releases are not tested ones.

    Call it after the corrections are installed, which it builds upon, and before addons are added to the master.
    """
    if untested := FAST_PATH.untested():
        logger.info("The fast path is off, because it was not tested with %s.", ", ".join(untested))
        return False
    from mitmproxy.proxy import mode_servers
    from mitmproxy.proxy.layers import http as layers
    from mitmproxy.proxy.layers import tls

    from . import addons, http1, http2, sockets

    faster: tuple[type, ...] = (http1.HttpStream, http1.Http1Client, http2.Http2Client)
    for layer in faster:
        setattr(layers, layer.__name__, layer)
    mode_servers.ProxyConnectionHandler = sockets.ProxyConnectionHandler  # type: ignore[misc]
    # Both TLS layers inherit it, and the classes between are named all over mitmproxy.
    tls.TLSLayer.receive_data = sockets.receive_data  # type: ignore[method-assign,assignment]
    master.addons = addons.SelectiveAddonManager(master)
    return True

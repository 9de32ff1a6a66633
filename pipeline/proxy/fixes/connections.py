"""Corrects how mitmproxy handles a connection as a whole."""

from __future__ import annotations

from mitmproxy.proxy import mode_servers

from tapeline.addons.tapeline_recorder.capture import SILENT


class ProxyConnectionHandler(mode_servers.ProxyConnectionHandler):
    """Records why a connection that was silent for too long was closed.

    mitmproxy closes it without a reason, so that the recorder would take it for a client that hung up. No upstream
    issue is known.
    """

    async def on_timeout(self) -> None:
        self.client.error = SILENT
        await super().on_timeout()

"""Calls an addon only for the events that it has a hook for."""

from __future__ import annotations

from mitmproxy import hooks
from mitmproxy.addonmanager import AddonManager, safecall
from mitmproxy.exceptions import AddonHalt


class SelectiveAddonManager(AddonManager):
    """mitmproxy prepares a call to each addon at each of the eight events of an exchange; most have no hook for it."""

    async def trigger_event(self, event: hooks.Hook) -> None:
        for addon in self.chain:
            if hasattr(addon, event.name) or hasattr(addon, "addons"):
                try:
                    with safecall():
                        await self.invoke_addon(addon, event)
                except AddonHalt:
                    return

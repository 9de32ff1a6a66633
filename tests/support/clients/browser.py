"""A headless Chromium that opens a page and reports what the page did: console, network, and a value from it."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

READY_SECONDS = 30.0
STEP_SECONDS = 30.0
# Time for the requests that a page makes after it was loaded.
_SETTLE_SECONDS = 0.5
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """What a page did, and the value of the expression in it."""

    complaints: list[str] = field(default_factory=list)
    #: The URLs that it requested, including blocked ones, and the reasons for blocking.
    requests: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    value: Any = None


def open_page(page: Path | str, expression: str, width: int | None = None, **emulated: str) -> Opened:
    """Open a file, or one of the browser's own pages; skips the test where there is no Chromium.

    `emulated` sets media features by their names; a width in CSS pixels emulates a phone of that width. The value of a
    promise is awaited.
    """
    program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("chromium is not installed")
    with _running(program) as address:
        url = page if isinstance(page, str) else page.as_uri()
        return asyncio.run(_open(address, url, expression, width, emulated))


@contextmanager
def _running(program: str) -> Iterator[str]:
    """Run the browser as a process, and yield the address of its debugging interface."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if address := re.search(r"ws://\S+", line):
                    yield address.group()
                    break
            else:
                pytest.fail("chromium did not start")
        finally:
            process.kill()
            process.wait(READY_SECONDS)
            if process.stderr is not None:
                process.stderr.close()


async def _open(address: str, url: str, expression: str, width: int | None, emulated: dict[str, str]) -> Opened:
    opened = Opened()
    loaded = asyncio.Event()
    replies: dict[int, asyncio.Future[Any]] = {}
    async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:

        async def listen() -> None:
            async for message in socket:
                event = message.json()
                if "id" in event:
                    replies.pop(event["id"]).set_result(event.get("result", event))
                else:
                    _note(opened, event)
                    if event["method"] == "Page.loadEventFired":
                        loaded.set()

        async def call(method: str, session: str | None = None, **parameters: Any) -> Any:
            number = len(numbers)
            numbers.append(method)
            replies[number] = asyncio.get_running_loop().create_future()
            message = {"id": number, "method": method, "params": parameters}
            await socket.send_json(message | ({"sessionId": session} if session else {}))
            return await asyncio.wait_for(replies[number], STEP_SECONDS)

        numbers: list[str] = []
        listener = asyncio.create_task(listen())
        target = await call("Target.createTarget", url="about:blank")
        session = (await call("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await call(f"{domain}.enable", session)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in emulated.items()]
        await call("Emulation.setEmulatedMedia", session, features=features)
        if width is not None:
            screen = {"width": width, "height": 2 * width, "deviceScaleFactor": 1, "mobile": True}
            await call("Emulation.setDeviceMetricsOverride", session, **screen)
        await call("Page.navigate", session, url=url)
        await asyncio.wait_for(loaded.wait(), STEP_SECONDS)
        await asyncio.sleep(_SETTLE_SECONDS)
        options = {"returnByValue": True, "awaitPromise": True}
        evaluated = await call("Runtime.evaluate", session, expression=expression, **options)
        opened.value = evaluated["result"].get("value")
        listener.cancel()
    return opened


def _note(opened: Opened, event: dict[str, Any]) -> None:
    parameters = event.get("params", {})
    match event["method"]:
        case "Log.entryAdded":
            opened.complaints.append(parameters["entry"]["text"])
        case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
            opened.complaints.append(str(parameters))
        case "Network.requestWillBeSent":
            opened.requests.append(parameters["request"]["url"])
        case "Network.loadingFailed":
            opened.blocked.append(parameters.get("blockedReason", "not blocked"))

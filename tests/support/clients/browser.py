"""A headless Chromium that opens a page and tells what the page did: console, network, what stands in it."""

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
# What the page may ask for after it was loaded, it asks for by then.
_SETTLE_SECONDS = 0.5
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """What a page did, and what `expression` was in it."""

    complaints: list[str] = field(default_factory=list)
    #: What it asked for, be it let through or not, and why what was not was not.
    requests: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    value: Any = None


def open_page(page: Path | str, expression: str, width: int | None = None, **emulated: str) -> Opened:
    """Open a file, or one of the browser's own pages; skips the test where there is no Chromium.

    Media features are emulated by their names, with a width in CSS pixels a phone of that width. Of an expression that
    is a promise the value is waited for.
    """
    program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("chromium is not installed")
    with _running(program) as address:
        url = page if isinstance(page, str) else page.as_uri()
        return asyncio.run(_open(address, url, expression, width, emulated))


@contextmanager
def _running(program: str) -> Iterator[str]:
    """The browser as a process; gives the address at which it takes orders."""
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
                if found := re.search(r"ws://\S+", line):
                    yield found.group()
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
    answers: dict[int, asyncio.Future[Any]] = {}
    async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:

        async def listen() -> None:
            async for message in socket:
                event = message.json()
                if "id" in event:
                    answers.pop(event["id"]).set_result(event.get("result", event))
                else:
                    _note(opened, event)
                    if event["method"] == "Page.loadEventFired":
                        loaded.set()

        async def order(method: str, session: str | None = None, **parameters: Any) -> Any:
            number = len(numbers)
            numbers.append(method)
            answers[number] = asyncio.get_running_loop().create_future()
            message = {"id": number, "method": method, "params": parameters}
            await socket.send_json(message | ({"sessionId": session} if session else {}))
            return await asyncio.wait_for(answers[number], STEP_SECONDS)

        numbers: list[str] = []
        listener = asyncio.create_task(listen())
        target = await order("Target.createTarget", url="about:blank")
        session = (await order("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await order(f"{domain}.enable", session)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in emulated.items()]
        await order("Emulation.setEmulatedMedia", session, features=features)
        if width is not None:
            screen = {"width": width, "height": 2 * width, "deviceScaleFactor": 1, "mobile": True}
            await order("Emulation.setDeviceMetricsOverride", session, **screen)
        await order("Page.navigate", session, url=url)
        await asyncio.wait_for(loaded.wait(), STEP_SECONDS)
        await asyncio.sleep(_SETTLE_SECONDS)
        how = {"returnByValue": True, "awaitPromise": True}
        evaluated = await order("Runtime.evaluate", session, expression=expression, **how)
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

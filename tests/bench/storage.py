"""How many bytes an exchange takes on disk, against what other programs store of the same traffic and against zstd.

All store requests and responses whole. JSONL has one line for each exchange. The limit is all text that is not a
repetition, compressed as far as zstd can.
"""

from __future__ import annotations

import json
from pathlib import Path

import zstandard

from tapeline.addons.tapeline_recorder.data_directory import DataDirectory
from tapeline.pipeline.sealing.seal import seal
from tests.bench import proxies
from tests.bench.figures import Figure, of_sizes
from tests.bench.plan import Plan
from tests.bench.traffic import Call, agent, images, pass_through, providing, short_chats

_PART = "Storage: bytes an exchange"
_LONG_WINDOW = 27


def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    chats, turns, conversations = plan.stored
    figures = []
    twentieth = {"mitmproxy's flow file": "<= 0.05", "claude-tap": "<= 0.05"}
    for name, calls, goals in (
        ("short chats", short_chats(chats), {"JSONL + zstd -3": "<= 0.7"}),
        (f"agent of {turns} turns", agent(turns), twentieth),
        ("images", images(conversations), {"one copy of the image": "<= 1.1"}),
    ):
        ours, others = _sizes(plan, folder / name.replace(" ", "-"), calls)
        if name == "images":
            others["one copy of the image"] = _encoded_image(calls)
        for other, size in others.items():
            goal = goals.get(other, "")
            figures.append(of_sizes(_PART, name, ours / len(calls), size / len(calls), "B", other, goal))
            plan.show(figures[-1])
    return figures


def _sizes(plan: Plan, folder: Path, calls: list[Call]) -> tuple[float, dict[str, float]]:
    """Return the bytes of our dataset, and of what the other programs store."""
    folder.mkdir(parents=True)

    def check(is_same: bool) -> None:
        if not is_same:
            raise RuntimeError("a response changed on its way")

    with providing(calls) as upstream, proxies.tapeline(folder, upstream, *proxies.WITHOUT_SEALING) as running:
        pass_through(running.port, calls, check)
    directory = DataDirectory(folder / "tapeline")
    seal(directory)
    ours = sum(path.stat().st_size for path in directory.root.glob("*/date=*/*.parquet"))
    others: dict[str, float] = {}
    with providing(calls) as upstream, proxies.saving_mitmdump(folder, upstream) as running:
        pass_through(running.port, calls, check)
    others["mitmproxy's flow file"] = (folder / "flows").stat().st_size
    if plan.with_peers:
        with providing(calls) as upstream, proxies.claude_tap(folder / "tap", upstream) as running:
            pass_through(running.port, calls, check)
        others["claude-tap"] = sum(path.stat().st_size for path in (folder / "tap").glob("traces.sqlite3*"))
    lines = b"".join(_line(number, call) for number, call in enumerate(calls))
    others["JSONL + zstd -3"] = len(zstandard.ZstdCompressor(level=3).compress(lines))
    others["JSONL + zstd -19"] = len(zstandard.ZstdCompressor(level=19).compress(lines))
    others["limit: zstd -19 --long of what is unique"] = _limit(calls)
    return ours, others


def _line(number: int, call: Call) -> bytes:
    line = {"request": json.loads(call.request()), "response": b"".join(call.events(number)).decode()}
    return json.dumps(line).encode() + b"\n"


def _limit(calls: list[Call]) -> int:
    unique: dict[str, None] = {}
    for call in calls:
        unique.update(dict.fromkeys(json.dumps(message) for message in (*call.messages, *(call.tools or ()))))
        unique[call.text] = None
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=_LONG_WINDOW, enable_ldm=True)
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress("\n".join(unique).encode()))


def _encoded_image(calls: list[Call]) -> int:
    url: str = calls[0].messages[0]["content"][1]["image_url"]["url"]
    return len(url)

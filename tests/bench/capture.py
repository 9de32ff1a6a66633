"""What recording costs the traffic that passes: throughput, delay, CPU time and memory, against other proxies.

The programs under test stand between the same clients and the same provider, and are measured in turns. While one has
its turn, the streams of the others stay open. Each round of turns yields one ratio.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import proxies
from tests.bench.crowd import Crowd
from tests.bench.figures import Figure, of_pairs
from tests.bench.plan import Plan
from tests.bench.proxies import Running
from tests.bench.surroundings import HTTP, WIRES, Surroundings, Wire
from tests.bench.turns import Turn, run_turn, take_turns

RATES = "Capture: exchanges a second"
DELAYS = "Capture: added delay"
COSTS = "Capture: CPU seconds per 1,000 exchanges"
BARE = "mitmdump, recording nothing"
NO_FAST_PATH = "--no-fast-path"
#: Events a second of the paced streams, by which delays are measured: fewer than saturate any proxy here.
PACE_SECONDS = 0.05
PACED_CLIENTS = 8
PACED_EVENTS = 10
PARTS_OF_DELAYS = 5
#: The number of events of each response; 0 is a response that is not streamed.
RESPONSES = {"50 events": 50, "500 events": 500, "not streamed": 0}


async def measure(plan: Plan, folder: Path) -> list[Figure]:
    """Measure all figures of this part."""
    gc.disable()  # in this process alone, which stands for the network
    figures: list[Figure] = []
    async with Surroundings(folder).serving() as around:
        for wire in plan.chosen(WIRES):
            with both(around, wire) as sides, without_fast_path(around, wire) as slow:
                figures += await _rates(plan, around, wire, sides, slow)
                figures.append(_peak_memory(plan, wire, sides))
        figures += await _delays(plan, around)
        figures += await _against_others(plan, around)
    gc.enable()
    return figures


def highest_rates(figures: list[Figure]) -> dict[str, float]:
    """Return the most exchanges a second that were recorded of each kind of response, on any wire."""
    rates: dict[str, float] = {}
    for figure in figures:
        for name in RESPONSES if figure.part == RATES else ():
            if f", {name}, " in figure.what:
                rates[name] = max(rates.get(name, 0.0), figure.ours)
    return rates


@contextmanager
def both(around: Surroundings, wire: Wire) -> Iterator[tuple[Running, Running]]:
    """Run Tapeline and bare mitmproxy: before the provider on plain HTTP, as a proxy for all hosts on TLS."""
    upstream, folder = _place(around, wire)
    with (
        proxies.tapeline(folder, upstream, *around.trust, *proxies.WITHOUT_SEALING) as ours,
        proxies.bare_mitmdump(folder, upstream, *around.trust) as theirs,
    ):
        yield ours, theirs


@contextmanager
def without_fast_path(around: Surroundings, wire: Wire) -> Iterator[Running]:
    """Run Tapeline so that all traffic passes mitmproxy's own layers."""
    upstream, folder = _place(around, wire)
    settings = (NO_FAST_PATH, *around.trust, *proxies.WITHOUT_SEALING)
    with proxies.tapeline(folder / "no-fast-path", upstream, *settings) as slow:
        yield slow


def _place(around: Surroundings, wire: Wire) -> tuple[str | None, Path]:
    return (None, around.folder / "tls") if wire.is_tls else (around.upstream, around.folder / "plain")


async def _rates(
    plan: Plan, around: Surroundings, wire: Wire, sides: tuple[Running, Running], slow: Running
) -> list[Figure]:
    """Measure exchanges a second and CPU time, for the middle number of clients also without the fast path."""
    figures = []
    for name, events in RESPONSES.items():
        direct = await take_turns(plan.with_turns(plan.turn_seconds, 2), around, wire, events, 16, (None,))
        for clients in plan.clients:
            what = f"{wire.name}, {name}, {clients} client{'s' * (clients > 1)}"
            is_middle = clients == plan.clients[len(plan.clients) // 2]
            measured = (*sides, slow) if is_middle else sides
            ours, theirs, *rest = await take_turns(plan, around, wire, events, clients, measured)
            rate = of_pairs(RATES, what, _pairs(ours, theirs, "rate"), "/s", BARE, ">= 1.10")
            rate.notes["16 clients without a proxy"] = round(direct[0][-1].rate, 1)
            figures.append(rate)
            if is_middle:
                figures.append(of_pairs(COSTS, what, _pairs(ours, theirs, "cpu"), "s", BARE))
            for turns in rest:
                without = f"{what}, {NO_FAST_PATH}"
                figures.append(of_pairs(RATES, without, _pairs(turns, theirs, "rate"), "/s", BARE))
                figures.append(of_pairs(COSTS, without, _pairs(turns, theirs, "cpu"), "s", BARE))
            plan.show(*figures[-4 if is_middle else -1 :])
    return figures


def _peak_memory(plan: Plan, wire: Wire, sides: tuple[Running, Running]) -> Figure:
    ours, theirs = (side.peak_memory() for side in sides)
    figure = of_pairs("Capture: peak memory", f"{wire.name}, all of the above", [(ours, theirs)], "MiB", BARE)
    plan.show(figure)
    return figure


def _pairs(ours: list[Turn], theirs: list[Turn], figure: str) -> list[tuple[float, float]]:
    return [
        (float(getattr(our, figure)), float(getattr(their, figure))) for our, their in zip(ours, theirs, strict=True)
    ]


async def _delays(plan: Plan, around: Surroundings) -> list[Figure]:
    """Measure how much later events arrive than without a proxy, on streams that leave the proxies idle."""
    figures = []
    for wire in plan.chosen(WIRES):
        with both(around, wire) as sides:
            crowds = [Crowd(around.exchanges, PACED_CLIENTS, PACED_EVENTS, PACE_SECONDS) for _ in range(3)]
            transports = []
            for side, crowd in zip((*sides, None), crowds, strict=True):
                transports += await around.crowd(side, wire, PACED_CLIENTS, crowd)
                await run_turn(crowd, plan.warm_up_seconds * 2)
                crowd.forget_delays()
            for _ in range(plan.pairs):
                for crowd in crowds:
                    await run_turn(crowd, plan.paced_seconds)
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0.05)
            for name, delays in (
                ("chunk", [crowd.delays for crowd in crowds]),
                ("first token", [crowd.first_delays for crowd in crowds]),
            ):
                for percent, goal in ((50, "<= 1.05"), (99, "<= 1.10")):
                    what = (
                        f"{wire.name}, {name}, p{percent}, {PACED_CLIENTS} clients at {1 / PACE_SECONDS:.0f} events/s"
                    )
                    figures.append(of_pairs(DELAYS, what, _added(delays, percent), "ms", BARE, goal))
                    plan.show(figures[-1])
    return figures


def _added(delays: list[list[float]], percent: int) -> list[tuple[float, float]]:
    """Return the milliseconds that each side adds to the median delay without a proxy, for successive parts."""
    ours, theirs, direct = delays
    base = _percentile(direct, 50)
    return [
        (1000 * (_percentile(our, percent) - base), 1000 * (_percentile(their, percent) - base))
        for our, their in zip(_parts(ours), _parts(theirs), strict=True)
    ]


def _parts(values: list[float]) -> list[list[float]]:
    size = len(values) // PARTS_OF_DELAYS
    return [values[at * size : (at + 1) * size] for at in range(PARTS_OF_DELAYS)]


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def _against_others(plan: Plan, around: Surroundings) -> list[Figure]:
    """Compare with proxies that reassemble responses.

    They would hold back single events, so the provider sends as fast as it can, and whole responses count.
    """
    if not plan.with_peers:
        return []
    figures = []
    folder = around.folder / "others"
    # LiteLLM needs half a minute to start.
    others = [(proxies.claude_tap, {"50 events": ">= 1.5", "not streamed": ">= 1.5"})]
    others += [] if plan.is_quick else [(proxies.litellm, {"50 events": ">= 10", "not streamed": ""})]
    for start, goals in others:
        with (
            proxies.tapeline(folder / start.__name__, around.upstream, *proxies.WITHOUT_SEALING) as ours,
            start(folder / start.__name__ / "theirs", around.upstream) as theirs,
        ):
            for name, goal in goals.items():
                long = plan.with_turns(plan.turn_seconds * 3, plan.pairs // 2)
                turns = await take_turns(long, around, HTTP, RESPONSES[name], 16, (ours, theirs), pace=0.0)
                what = f"HTTP/1.1, {name}, 16 clients"
                figures.append(of_pairs(RATES, what, _pairs(turns[0], turns[1], "rate"), "/s", theirs.name, goal))
                plan.show(figures[-1])
    return figures

"""Turns: programs are measured alternately, each for a fraction of a second, so that load on the machine meets both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.bench.crowd import Crowd
from tests.bench.plan import Plan
from tests.bench.proxies import Running
from tests.bench.surroundings import Surroundings, Wire

#: Exchanges that run at the end of a turn get so long to finish; otherwise they would run in the other side's turn.
DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Turn:
    """The result of a turn: exchanges a second, and the proxy's CPU seconds for 1,000 of them."""

    rate: float
    cpu: float


async def take_turns(
    plan: Plan,
    around: Surroundings,
    wire: Wire,
    events: int,
    clients: int,
    sides: tuple[Running | None, ...],
    pace: float | None = None,
) -> list[list[Turn]]:
    """Return the turns of each side; None is a side without a proxy. Each round reverses the order of the sides."""
    crowds = [Crowd(around.exchanges, clients, events, pace) for _ in sides]
    transports = [
        transport
        for side, crowd in zip(sides, crowds, strict=True)
        for transport in await around.crowd(side, wire, clients, crowd)
    ]
    turns: list[list[Turn]] = [[] for _ in sides]
    order = list(range(len(sides)))
    try:
        for position in order:
            await run_turn(crowds[position], plan.warm_up_seconds)
        for _ in range(plan.pairs):
            for position in order:
                side, crowd = sides[position], crowds[position]
                before, used = crowd.passed, side.cpu_seconds() if side else 0.0
                rate = await run_turn(crowd, plan.turn_seconds)
                cpu = (side.cpu_seconds() if side else 0.0) - used
                done = max(1, crowd.passed - before) / max(1, events)
                turns[position].append(Turn(rate, cpu / done * 1000))
            order.reverse()
    finally:
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0.05)
    for side, crowd in zip(sides, crowds, strict=True):
        if crowd.failure is not None:
            raise RuntimeError(f"{side.name if side else 'direct'}: {crowd.failure}")
    return turns


async def run_turn(crowd: Crowd, seconds: float) -> float:
    """Let a crowd work for so long, and until its running exchanges have finished; return its exchanges a second."""
    loop = asyncio.get_running_loop()
    before, ended, began = crowd.passed, crowd.ended, loop.time()
    crowd.turn(on=True)
    await asyncio.sleep(seconds)
    crowd.turn(on=False)
    while crowd.is_busy and loop.time() - began < seconds + DRAIN_SECONDS:
        await asyncio.sleep(0.001)
    lasted = loop.time() - began
    passed = (crowd.passed - before) / max(1, crowd.events)
    return (passed if crowd.pace is None else crowd.ended - ended) / lasted

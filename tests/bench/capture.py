"""What recording costs traffic that passes: throughput, delay, processor time and memory, against other proxies.

Both sides stand between the same clients and the same provider, and are measured by turns of a fraction of a second:
`PAIRS` pairs of turns, each of which gives one ratio. While one side has its turn the other side's streams stand open.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import http1, http2, proxies
from tests.bench.crowd import Answer, Crowd
from tests.bench.figures import Figure, of_pairs
from tests.bench.plan import Plan
from tests.bench.proxies import Running
from tests.support.servers.authority import make_authority, server_context

RATES = "Capture: exchanges a second"
DELAYS = "Capture: added delay"
COSTS = "Capture: CPU seconds per 1,000 exchanges"
BARE = "mitmdump, recording nothing"
#: Clients that share an HTTP/2 connection, as those of one program do.
SHARING = 16
#: Events a second of the paced streams, by which delays are measured: fewer than saturate any proxy here.
PACE_SECONDS = 0.05
PACED_CLIENTS = 8
PACED_EVENTS = 10
PARTS_OF_DELAYS = 5
CONNECT_SECONDS = 20.0
#: What is under way at a turn's end would fall into the other side's turn; it is given so long.
DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Wire:
    """How clients reach the provider through a proxy."""

    name: str
    is_tls: bool = False
    is_http2: bool = False


HTTP = Wire("HTTP/1.1")
HTTPS = Wire("HTTPS, HTTP/1.1", is_tls=True)
HTTPS_2 = Wire("HTTPS, HTTP/2", is_tls=True, is_http2=True)
WIRES = (HTTP, HTTPS, HTTPS_2)
#: Events of a streamed answer; none means that it comes as a whole.
KINDS = {"50 events": 50, "500 events": 500, "not streamed": 0}


class Surroundings:
    """The provider on every wire, and what is needed to trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority(folder)
        self.answers: dict[int, Answer] = {}
        self.ports: dict[Wire, int] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Surroundings]:
        loop = asyncio.get_running_loop()
        servers = []
        for wire in WIRES:
            context = server_context(self.authority) if wire.is_tls else None
            if context is not None:
                context.set_alpn_protocols(["h2"] if wire.is_http2 else ["http/1.1"])
            provider = http2.Provider if wire.is_http2 else http1.Provider
            server = await loop.create_server(
                lambda provider=provider: provider(self.answers), "127.0.0.1", 0, ssl=context, backlog=1024
            )
            self.ports[wire] = server.sockets[0].getsockname()[1]
            servers.append(server)
        try:
            yield self
        finally:
            for server in servers:
                server.close()

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.ports[HTTP]}"

    @property
    def trust(self) -> tuple[str, ...]:
        return ("--set", f"ssl_verify_upstream_trusted_ca={self.authority / 'ca.pem'}")

    async def crowd(self, running: Running | None, wire: Wire, clients: int, crowd: Crowd) -> list[asyncio.Transport]:
        """Connect so many clients through a proxy, or directly without one."""
        lengths = random.Random(1).sample(range(1, max(crowd.events, clients) + 1), clients)
        lengths = [max(1, length * crowd.events // max(crowd.events, clients)) for length in lengths]
        step = SHARING if wire.is_http2 else 1
        transports = []
        for start in range(0, clients, step):
            protocol = self._client(wire, crowd, lengths[start : start + step])
            transports.append(await asyncio.wait_for(self._connect(running, wire, protocol), CONNECT_SECONDS))
        return transports

    def _client(self, wire: Wire, crowd: Crowd, lengths: list[int]) -> Callable[[], asyncio.Protocol]:
        host = f"localhost:{self.ports[wire]}"
        if wire.is_http2:
            return lambda: http2.Client(crowd, host, lengths)
        return lambda: http1.Client(crowd, host, lengths[0])

    async def _connect(
        self, running: Running | None, wire: Wire, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        port = self.ports[wire] if running is None else running.port
        if not wire.is_tls:
            return (await loop.create_connection(protocol, "127.0.0.1", port))[0]
        # Who is at the other end is not what is measured: no client checks it.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"] if wire.is_http2 else ["http/1.1"])
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        if running is not None:
            name = f"localhost:{self.ports[wire]}"
            await loop.sock_sendall(connection, f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            answer = await loop.sock_recv(connection, 4096)
            if b" 200 " not in answer:
                raise RuntimeError(f"no tunnel: {answer!r}")
        return (await loop.create_connection(protocol, ssl=context, sock=connection, server_hostname="localhost"))[0]


async def measure(plan: Plan, folder: Path) -> list[Figure]:
    """All figures of this part."""
    gc.disable()  # of this process alone, which stands for the network
    figures: list[Figure] = []
    async with Surroundings(folder).serving() as around:
        figures += await _against_bare(plan, around)
        figures += await _delays(plan, around)
        figures += await _against_others(plan, around)
    gc.enable()
    return figures


def highest_rates(figures: list[Figure]) -> dict[str, float]:
    """Exchanges a second of each kind that were recorded at most, on any wire."""
    rates: dict[str, float] = {}
    for figure in figures:
        for kind in KINDS if figure.part == RATES else ():
            if f", {kind}, " in figure.what:
                rates[kind] = max(rates.get(kind, 0.0), figure.ours)
    return rates


@contextmanager
def both(around: Surroundings, wire: Wire) -> Iterator[tuple[Running, Running]]:
    """Ours and bare mitmproxy: before the provider on plain HTTP, as a proxy for all hosts on TLS."""
    upstream = None if wire.is_tls else around.upstream
    folder = around.folder / ("tls" if wire.is_tls else "plain")
    with ExitStack() as stack:
        start = stack.enter_context
        yield (
            start(proxies.tapeline(folder, upstream, *around.trust, *proxies.WITHOUT_SEALING)),
            start(proxies.bare_mitmdump(folder, upstream, *around.trust)),
        )


async def _against_bare(plan: Plan, around: Surroundings) -> list[Figure]:
    figures = []
    for wire in plan.chosen(WIRES):
        with both(around, wire) as (ours, theirs):
            for kind, events in KINDS.items():
                direct = await _turns(plan.with_turns(plan.turn_seconds, 2), around, wire, events, 16, (None,))
                for clients in plan.clients:
                    what = f"{wire.name}, {kind}, {clients} client{'s' * (clients > 1)}"
                    turns = await _turns(plan, around, wire, events, clients, (ours, theirs))
                    figures.append(of_pairs(RATES, what, _pairs(turns, "rate"), "/s", BARE, ">= 1.10"))
                    figures[-1].notes["16 clients without a proxy"] = round(direct[0][-1].rate, 1)
                    plan.say(figures[-1])
                    if clients == plan.clients[len(plan.clients) // 2]:
                        figures.append(of_pairs(COSTS, what, _pairs(turns, "cpu"), "s", BARE))
                        plan.say(figures[-1])
            memory = (ours.peak_memory(), theirs.peak_memory())
            figures.append(of_pairs("Capture: peak memory", f"{wire.name}, all of the above", [memory], "MiB", BARE))
            plan.say(figures[-1])
    return figures


@dataclass(frozen=True)
class Turn:
    """What a turn gave: exchanges a second, and seconds of the proxy's processor time for a thousand of them."""

    rate: float
    cpu: float


def _pairs(sides: list[list[Turn]], what: str) -> list[tuple[float, float]]:
    ours, theirs = ([float(getattr(turn, what)) for turn in turns] for turns in sides)
    return list(zip(ours, theirs, strict=True))


async def _turns(
    plan: Plan,
    around: Surroundings,
    wire: Wire,
    events: int,
    clients: int,
    sides: tuple[Running | None, ...],
    pace: float | None = None,
) -> list[list[Turn]]:
    """The turns of each side; who begins a pair changes from one to the next."""
    crowds = [Crowd(around.answers, clients, events, pace) for _ in sides]
    transports = [
        transport
        for side, crowd in zip(sides, crowds, strict=True)
        for transport in await around.crowd(side, wire, clients, crowd)
    ]
    turns: list[list[Turn]] = [[] for _ in sides]
    order = list(range(len(sides)))
    try:
        for position in order:
            await _turn(crowds[position], plan.warm_up_seconds)
        for _ in range(plan.pairs):
            for position in order:
                side, crowd = sides[position], crowds[position]
                before, used = crowd.passed, side.cpu_seconds() if side else 0.0
                rate = await _turn(crowd, plan.turn_seconds)
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


async def _turn(crowd: Crowd, seconds: float) -> float:
    """Let a crowd go on for so long, and until what is under way has come; gives its exchanges a second."""
    loop = asyncio.get_running_loop()
    before, ended, began = crowd.passed, crowd.ended, loop.time()
    crowd.turn(on=True)
    await asyncio.sleep(seconds)
    crowd.turn(on=False)
    while crowd.is_under_way and loop.time() - began < seconds + DRAIN_SECONDS:
        await asyncio.sleep(0.001)
    lasted = loop.time() - began
    passed = (crowd.passed - before) / max(1, crowd.events)
    return (passed if crowd.pace is None else crowd.ended - ended) / lasted


async def _delays(plan: Plan, around: Surroundings) -> list[Figure]:
    """How much later an event comes than without a proxy, on streams that are slow enough to leave proxies idle."""
    figures = []
    for wire in plan.chosen(WIRES):
        with both(around, wire) as sides:
            crowds = [Crowd(around.answers, PACED_CLIENTS, PACED_EVENTS, PACE_SECONDS) for _ in range(3)]
            transports = []
            for side, crowd in zip((*sides, None), crowds, strict=True):
                transports += await around.crowd(side, wire, PACED_CLIENTS, crowd)
                await _turn(crowd, plan.warm_up_seconds * 2)
                crowd.forget_delays()
            for _ in range(plan.pairs):
                for crowd in crowds:
                    await _turn(crowd, plan.paced_seconds)
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0.05)
            for kind, delays in (
                ("chunk", [crowd.delays for crowd in crowds]),
                ("first token", [crowd.first_delays for crowd in crowds]),
            ):
                for percent, goal in ((50, "<= 1.05"), (99, "<= 1.10")):
                    what = (
                        f"{wire.name}, {kind}, p{percent}, {PACED_CLIENTS} clients at {1 / PACE_SECONDS:.0f} events/s"
                    )
                    figures.append(of_pairs(DELAYS, what, _added(delays, percent), "ms", BARE, goal))
                    plan.say(figures[-1])
    return figures


def _added(delays: list[list[float]], percent: int) -> list[tuple[float, float]]:
    """Milliseconds that each side adds to the usual delay without a proxy, in successive parts of a few turns."""
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
    """Those that reassemble what passes: events come as fast as the provider sends them, and whole answers count."""
    if not plan.with_peers:
        return []
    figures = []
    folder = around.folder / "others"
    # LiteLLM takes half a minute to start.
    others = [(proxies.claude_tap, {"50 events": ">= 1.5", "not streamed": ">= 1.5"})]
    others += [] if plan.is_quick else [(proxies.litellm, {"50 events": ">= 10", "not streamed": ""})]
    for start, goals in others:
        with (
            proxies.tapeline(folder / start.__name__, around.upstream, *proxies.WITHOUT_SEALING) as ours,
            start(folder / start.__name__ / "theirs", around.upstream) as theirs,
        ):
            for kind, goal in goals.items():
                long = plan.with_turns(plan.turn_seconds * 3, plan.pairs // 2)
                turns = await _turns(long, around, HTTP, KINDS[kind], 16, (ours, theirs), pace=0.0)
                figures.append(
                    of_pairs(
                        RATES,
                        f"HTTP/1.1, {kind}, 16 clients",
                        _pairs(turns, "rate"),
                        "/s",
                        theirs.name,
                        goal,
                    )
                )
                plan.say(figures[-1])
    return figures

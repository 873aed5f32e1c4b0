"""Liars among the holders, and everywhere: the bytes are right or an error says so, and honest peers go on."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from functools import cache
from typing import Any

import pytest
from loguru import logger
from msgspec.structs import replace

from peerd.config import HostPort
from peerd.content.block import check
from peerd.content.cid import Cid
from peerd.errors import IntegrityError, NotFoundError, PeerdError, TimedOutError
from peerd.records.record import verify_record
from peerd.records.statement import Verifier
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.play import play
from peerd.sim.scenario import check as scenario
from peerd.sim.world import World
from tests.hostile import content, records
from tests.hostile.base import Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import blocks_of, by_distance, core, get, joined, key_of, opened, put

SEED = 3
HOLDERS = 8
LATENCY_MS = 30.0
ROUND_TRIP_S = 0.08
CONTENT_BYTES = 2_000_000
MEBIBYTE = 2**20
RECORD_BYTES = 500


@pytest.fixture(autouse=True)
def quiet():
    """No logs: wrong blocks are warned of."""
    logger.remove()


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work())


class Scene:
    """Nine peers, of whom one holds nothing and reads; of the eight holders some lie once all is put."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(
            asyncio.get_running_loop(),  # type: ignore[arg-type]
            seed=seed,
            expected=HOLDERS + 1,
            signed=False,
            faults=Faults(latency_ms=LATENCY_MS),
            settings={"copies": HOLDERS},
        )
        self.size = size
        self.name = "name"
        self.data = b""

    async def begin(self, order: int) -> list[Host]:
        """Start all; return the holders, in an order that is one of many."""
        hosts = await joined(self.world, HOLDERS + 1)
        self.data = self.rng.randbytes(self.size)
        self.victim = by_distance(hosts, list(blocks_of(self.data))[-1].digest)[-1]
        while by_distance(hosts, key_of(self.victim, self.name))[-1] is not self.victim:
            self.name = f"name-{self.rng.randrange(10**9)}"
        holders = [host for host in hosts if host is not self.victim]
        return random.Random(order).sample(holders, HOLDERS)

    async def read(self) -> tuple[bytes | PeerdError, float]:
        """Return what the victim reads and how long it took."""
        began = self.world.loop.time()
        try:
            return await get(self.victim, self.name), self.world.loop.time() - began
        except PeerdError as error:
            return error, self.world.loop.time() - began

    async def require_right_elsewhere(self) -> None:
        """Somebody new who knows only the victim reads the same; and the content, when only the victim is left."""
        third = await self._introduced_by_the_victim()
        found = await opened(third, self.name)
        assert b"".join([piece async for piece in found.body()]) == self.data
        if self.size > RECORD_BYTES:  # of what is not in its record the victim has a copy
            for host in (each for each in self.world.living if each is not self.victim):
                await host.crash(power=False)
            assert await get(await self._introduced_by_the_victim(), found.info.cid) == self.data

    async def _introduced_by_the_victim(self) -> Host:
        host = self.world.add()
        host.settings = replace(host.settings, bootstrap=(HostPort(*self.victim.address),))
        await host.start()
        await asyncio.sleep(1)
        return host

    def require_clean(self) -> None:
        """The victim's store has no wrong byte."""
        store, identity = self.victim.store, self.victim.identity
        for raw, known in store._blocks.items():
            assert known.data is None or check(Cid.from_bytes(raw), known.data)
        for key, (raw, _) in store._records.items():
            assert verify_record(raw, identity.network, Verifier(identity)).key == key


async def _get_among(way: type[Liar] | None, count: int, seed: int, size: int) -> tuple[Any, float, bytes, bytes]:
    """Put twice, let `count` holders lie, and read; return what came, how long it took, the old and the new value."""
    scene = Scene(seed, size)
    holders = await scene.begin(count)
    clan = Clan()
    early = way is not None and way in (records.Forgets, records.RollsBack)
    if early:
        _dress(holders[:count], way, clan)
    old = scene.rng.randbytes(RECORD_BYTES)
    await put(holders[-1], scene.name, old)
    await put(holders[-1], scene.name, scene.data)
    await asyncio.sleep(2)
    if way is not None and not early:
        _dress(holders[:count], way, clan)
    read, took_s = await scene.read()
    await asyncio.sleep(1)
    scene.require_clean()
    if read == scene.data and 0 < count < HOLDERS:
        await scene.require_right_elsewhere()
    assert await scene.world.lights_out() == []
    return read, took_s, old, scene.data


def _dress(liars: list[Host], way: type[Liar] | None, clan: Clan) -> None:
    assert way is not None
    for host in liars:
        way().install(core(host), clan)


@cache
def _honest_s(size: int, seed: int) -> float:
    read, took_s, _, new = _run(lambda: _get_among(None, 0, seed, size))
    assert read == new
    return took_s


def _require_right(way: type[Liar], size: int, counts: Iterable[int], seed: int = SEED) -> None:
    for count in counts:
        read, took_s, _, new = _run(lambda count=count: _get_among(way, count, seed, size))
        assert read == new, f"{count} {way.name}: {read!r:.80}"
        # Twice, and the round trip in which those that denied it are given it.
        limit_s = 2 * _honest_s(size, seed) + ROUND_TRIP_S
        assert took_s <= limit_s, f"{count} {way.name}: {took_s:.3f} s, {limit_s:.3f} s were to be"


@pytest.mark.parametrize("way", [way for way in content.WAYS if way is not content.Drips], ids=lambda way: way.name)
def test_one_to_seven_of_eight_holders_lie_about_blocks_and_the_bytes_are_right_in_time(way: type[Liar]) -> None:
    _require_right(way, CONTENT_BYTES, (1, 4, 7))


def test_one_to_seven_of_eight_holders_drip_and_the_bytes_are_right_in_twice_the_time() -> None:
    for size in (MEBIBYTE, CONTENT_BYTES):
        _require_right(content.Drips, size, (1, 4, 7))
    _require_right(content.Drips, 20 * CONTENT_BYTES, (1,))
    for seed in (1, 2):  # the honest one is far from the reader, among the last that it can ask
        _require_right(content.Drips, MEBIBYTE, (7,), seed)


@pytest.mark.parametrize("way", records.WAYS, ids=lambda way: way.name)
def test_one_to_seven_of_eight_holders_lie_about_a_record_and_the_value_is_right_in_time(way: type[Liar]) -> None:
    _require_right(way, RECORD_BYTES, range(1, 5 if way is records.Floors else HOLDERS))


# Where all lie. What is only missing or late is no wrong byte; a version that was once the newest is one to a reader
# that never saw another.
OUTCOMES: dict[type[Liar], tuple[type[PeerdError], ...]] = {
    content.Denies: (NotFoundError, TimedOutError),
    records.Denies: (NotFoundError, TimedOutError),
    records.Floors: (NotFoundError, TimedOutError),
    records.Forgets: (NotFoundError, TimedOutError),
}
RIGHT: set[type[Liar]] = {content.Drips, content.Sometimes, records.Forgets}
OLD: set[type[Liar]] = {records.RollsBack}


@pytest.mark.parametrize(
    ("way", "size"),
    [(way, CONTENT_BYTES) for way in content.WAYS] + [(way, RECORD_BYTES) for way in records.WAYS],
    ids=lambda each: each.name if isinstance(each, type) else "",
)
def test_where_all_eight_holders_lie_nothing_wrong_is_read(way: type[Liar], size: int) -> None:
    read, _, old, new = _run(lambda: _get_among(way, HOLDERS, 4, size))
    if isinstance(read, bytes):
        assert read in ([new] if way in RIGHT else [old, new] if way in OLD else [])
    else:
        assert isinstance(read, OUTCOMES.get(way, (IntegrityError,))), repr(read)


# Everywhere: a colluding mixture, with churn, where nobody knows everybody. The large form is tests/bench/liars.py.

MIXED = {
    "peers": 60,
    "signed": False,
    "settle_s": 5,
    "settings": {"members_max": 16},
    "step": [
        {"do": "join", "at_s": 0, "over_s": 5},
        {"do": "put", "at_s": 9, "over_s": 3, "keys": 50},
        {"do": "churn", "at_s": 12, "for_s": 12, "session_s": 200, "away_s": 5},
        {"do": "get", "at_s": 12, "over_s": 12, "count": 300},
    ],
    "liars": [{"share": 0.3, "plugin": "tests.hostile.mixtures:Colluding"}],
    "expect": {"puts_ok": 0.98, "gets_ok": 0.99, "checks_ok": 0.99},
}
MESSAGES_RATIO_MAX = 3.0


def test_a_third_of_the_peers_lies_together_under_churn_and_the_honest_go_on() -> None:
    report = play(scenario(MIXED), 2)
    assert report.violations == []
    assert report.liars == 18
    honest = play(scenario({**MIXED, "liars": [{"share": 0.3}]}), 2)
    assert sum(report.honest_messages.values()) <= MESSAGES_RATIO_MAX * sum(honest.honest_messages.values())

"""Twenty peers with users, and some that promise and do not keep: they are found, and who signs a lie is out soon."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pytest
from loguru import logger

from peerd.ids import PeerId
from peerd.node.gossip import CONVICTED
from peerd.records.evidence import digest_of
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop
from peerd.sim.world import World
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.messages import Tell
from tests.hostile.audits import Drops, MakesUpProofs, SaysOver
from tests.hostile.base import HonestBytes, Liar
from tests.unit.node.hosts import contact_of, core, eventually, get, key_of, meshed, put

PEERS = 20
NAMES = 40
CONVINCED_S = 60.0
FOUND_S = 900.0
ALL_FOUND_S = 1800.0


@pytest.fixture(autouse=True)
def quiet():
    """No logs: liars are warned of."""
    logger.remove()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work())


async def twenty(*liars: type[Liar]) -> tuple[list[Host], list[Host]]:
    """Twenty peers that know each other; return the honest and the liars."""
    loop = asyncio.get_running_loop()
    world = World(loop, seed=5, expected=PEERS, signed=False)  # type: ignore[arg-type]
    hosts = [world.add(outfit=liar.outfit({})) for liar in liars]
    hosts += [world.add() for _ in range(PEERS - len(liars))]
    for host in hosts:
        await host.start()
    await meshed(hosts)
    await asyncio.sleep(5)
    return hosts[len(liars) :], hosts[: len(liars)]


async def _written(honest: list[Host]) -> None:
    for at in range(NAMES):
        await put(honest[at % len(honest)], f"name-{at}", b"value")


def _out(honest: list[Host], peer: PeerId) -> int:
    return sum(core(host).trust.is_out(peer) for host in honest)


@pytest.mark.parametrize("liar", [Drops, MakesUpProofs])
def test_who_acknowledges_and_drops_is_out_everywhere_within_a_minute_of_being_found(liar: type[Liar]) -> None:
    async def work() -> None:
        honest, (mallory,) = await twenty(liar)
        await _written(honest)
        who = mallory.identity.peer
        time = asyncio.get_running_loop().time

        async def first() -> bool:
            return _out(honest, who) > 0

        async def everybody() -> bool:
            return _out(honest, who) == len(honest)

        await eventually(first, within_s=FOUND_S)
        found = time()
        await eventually(everybody, within_s=CONVINCED_S)
        assert time() - found < CONVINCED_S
        for host in honest:
            assert who not in core(host).members.all
        assert not any(_out(honest, each.identity.peer) for each in honest)
        for at in range(NAMES):
            assert await get(honest[at % 7], f"name-{at}") == b"value"

    run(work)


def test_who_drops_and_has_an_excuse_is_not_relied_on_by_who_audits_it(seed: int) -> None:
    async def work() -> None:
        honest, (mallory,) = await twenty(SaysOver)
        await _written(honest)
        who = mallory.identity.peer

        async def noticed() -> bool:
            return any(core(host).trust.shunned(who) for host in honest)

        await eventually(noticed, within_s=ALL_FOUND_S)
        assert _out(honest, who) == 0
        blamed = [dict(core(host).trust.faults_of(other.identity.peer)) for host in honest for other in honest]
        assert not any(blamed)

    run(work)


class Forges(Liar):
    """Tells everybody of evidence against everybody: what others really signed, altered, framed or of another kind."""

    name = "forges"
    made: dict[bytes, bytes]
    all: ClassVar[dict[PeerId, "Forges"]] = {}

    def begin(self) -> None:
        self.made = {}
        self.all[self.core.peer] = self

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.EVIDENCE:
            digests = frames.split_digests(payload)
            return encode([self.made[digest] for digest in digests if digest in self.made])
        return await honest()


def test_a_flood_of_forged_evidence_convinces_nobody(seed: int) -> None:
    """It is told by three liars, of the eighteen others, for a minute."""

    async def work() -> None:
        honest, liars = await twenty(Forges, Forges, Forges)
        await _written(honest)
        receipts = [
            raw
            for host in honest
            for at in range(NAMES)
            for other in honest
            if (raw := await core(host).proofs.raw(key_of(host, f"name-{at}"), other.identity.peer)) is not None
        ]
        assert receipts
        told = 0
        for turn in range(60):
            for mallory in liars:
                liar = Forges.all[mallory.identity.peer]
                raw = receipts[(turn * 7 + mallory.index) % len(receipts)]
                accused = honest[(turn + mallory.index) % len(honest)].identity.peer
                forged = encode([1, 1 + turn % 4, accused, raw, raw[:-1] + bytes([raw[-1] ^ 1])])
                liar.made[digest_of(forged)] = forged
                item = bytes([CONVICTED]) + digest_of(forged) + accused
                for host in honest:
                    core(mallory).endpoint.ask(contact_of(host), Tell, (item,))
                    told += 1
            await asyncio.sleep(1)
        assert told > 3000
        assert not any(_out(honest, each.identity.peer) for each in honest)
        assert not any([await host.store.evidence() for host in honest])
        noted = [
            core(host).trust.faults_of(mallory.identity.peer).get("malformed", 0)
            for host in honest
            for mallory in liars
        ]
        assert max(noted) <= 4, "who told it thrice is not asked again"
        assert min(noted) > 0
        for at in range(NAMES):
            assert await get(honest[at % 7], f"name-{at}") == b"value"

    run(work)

"""Fetches and copies that are broken off: what has arrived is not fetched again, and counts as no copy."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace as with_settings

from peerd.content.block import Block
from peerd.content.cid import RAW, Cid
from peerd.ids import peer_id_text
from peerd.node.blocks import BATCH_WAIT_S, BlockWriter
from peerd.sim.host import Host

from .hosts import World, blocks_of, core, get, joined, put, until

MANY = random.Random(1).randbytes(12 * 2**20)
CAME = 6


class Tap:
    """Lets so many blocks out of hosts and then holds every other back, until it is opened."""

    def __init__(self, hosts: Sequence[Host], count: int) -> None:
        self.left = count
        self.flows = asyncio.Event()
        self.sent: Counter[bytes] = Counter()
        """The leaves sent before it was opened, and how often in all; what was held back has not arrived."""
        for host in hosts:
            self._put_on(host)

    def _put_on(self, host: Host) -> None:
        handler = core(host).bulk._handler
        honest = handler.block

        async def block(cid: bytes) -> bytes | None:
            if self.left <= 0 and not self.flows.is_set():
                await self.flows.wait()
            elif Cid.from_bytes(cid).codec == RAW and (not self.flows.is_set() or cid in self.sent):
                self.left -= 1
                self.sent[cid] += 1
            return await honest(cid)

        handler.block = block  # type: ignore[method-assign]

    @property
    def sent_twice(self) -> int:
        return sum(count - 1 for count in self.sent.values())


async def _half_got(world: World, count: int = CAME) -> tuple[Host, Tap, "asyncio.Task[bytes]"]:
    """Return a host that holds nothing of what it gets and that CAME blocks have reached, of which no more come."""
    hosts = await joined(world, 5)
    holders = (await put(hosts[0], "big", MANY)).holders
    getter = next(host for host in hosts[1:] if peer_id_text(host.identity.peer) not in holders)
    tap = Tap([host for host in hosts if host is not getter], count)
    getting = asyncio.create_task(get(getter, "big"))
    await until(lambda: sum(tap.sent.values()) == count)
    await asyncio.sleep(BATCH_WAIT_S / 2)  # what was sent is there, and not all of it in the store
    return getter, tap, getting


async def _gone(task: "asyncio.Task[bytes]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_came_before_the_process_was_killed_is_not_fetched_again(world: World) -> None:
    getter, tap, getting = await _half_got(world)
    await getter.crash(power=True)
    await _gone(getting)
    tap.flows.set()
    await getter.start()
    assert await get(getter, "big") == MANY
    assert tap.sent_twice == 0


async def test_what_came_before_who_asked_went_away_is_not_fetched_again(world: World) -> None:
    getter, tap, getting = await _half_got(world)
    await _gone(getting)
    await asyncio.sleep(BATCH_WAIT_S / 2)
    tap.flows.set()
    assert await get(getter, "big") == MANY
    assert tap.sent_twice == 0


async def test_half_of_it_is_no_copy_and_goes_after_its_grace(world: World) -> None:
    world._settings = with_settings(world._settings, unclaimed_grace_s=20.0, partial_grace_s=60.0)
    getter, tap, getting = await _half_got(world)
    await _gone(getting)
    tap.flows.set()
    kept = core(getter)
    (root,) = await kept.store.roots(None, 10)
    assert not root.complete
    assert (await kept.store.usage()).cache_bytes >= CAME * 2**20 // 2
    assert getter.peer is not None
    assert peer_id_text(getter.identity.peer) not in {each.id for each in (await getter.peer.stat("big")).holders}
    await asyncio.sleep(kept.settings.partial_grace_s / 2)
    assert await kept.store.root(root.cid) is not None
    await asyncio.sleep(kept.settings.partial_grace_s)
    assert await kept.store.root(root.cid) is None


async def test_a_holder_that_was_killed_takes_the_rest_only(world: World) -> None:
    writer, holder = await joined(world, 2)
    tap = Tap([writer], CAME)
    putting = asyncio.create_task(put(writer, "big", MANY))
    await until(lambda: sum(tap.sent.values()) == CAME)
    await asyncio.sleep(BATCH_WAIT_S / 2)
    await holder.crash(power=True)
    await asyncio.gather(putting, return_exceptions=True)
    tap.flows.set()
    await holder.start()
    assert (await put(writer, "big", MANY)).copies == 2
    assert tap.sent_twice == 0


async def test_small_blocks_are_durable_in_a_moment(world: World) -> None:
    (host,) = await joined(world, 1)
    kept = core(host)
    blocks = [Block(cid, data) for cid, data in blocks_of(b"small").items()]
    writer = BlockWriter(kept.store, kept.room, blocks[0].cid)
    await writer.add(blocks[0])
    assert await kept.store.has_blocks([blocks[0].cid]) == [False]
    await asyncio.sleep(2 * BATCH_WAIT_S)
    assert await kept.store.has_blocks([blocks[0].cid]) == [True]
    await writer.close()

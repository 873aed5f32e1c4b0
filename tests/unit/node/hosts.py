"""What the node's tests do with simulated hosts: start some, look inside, put and get in one line."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count as numbers
from typing import Any

from peerd.content.build import FileBuilder
from peerd.content.cid import Cid
from peerd.ids import Key, PeerId, distance, name_key, node_id
from peerd.kad.contact import Contact
from peerd.node import results
from peerd.node.core import Core
from peerd.node.peer import Opened
from peerd.node.results import GetOptions, PutOptions
from peerd.records.record import INLINE, NONCE_BYTES, Record, RecordBody, make_record, read_record
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire.messages import Reply, Request

__all__ = ["World"]

SETTLE_MAX_S = 30.0


class once:
    """A body of these pieces; no generator, so that one read only in part leaves nothing to be closed."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None


def core(host: Host) -> Core:
    """Everything of the peer that runs on a host."""
    assert host.peer is not None
    return host.peer._core


async def joined(world: World, count: int) -> list[Host]:
    """`count` more hosts, when all that live know each other."""
    hosts = [await world.join() for _ in range(count)]
    await meshed(world.living)
    await asyncio.sleep(3)
    return hosts


async def meshed(hosts: Sequence[Host]) -> None:
    """Return when each of these knows all the others to live."""
    others = len(hosts) - 1
    await until(lambda: all(core(host).members.alive_count() >= others for host in hosts))


async def until(holds: Callable[[], bool], *, within_s: float = SETTLE_MAX_S) -> float:
    """Return how long it took until something held; fails where it never does."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not holds():
        assert loop.time() - started < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.05)
    return loop.time() - started


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = SETTLE_MAX_S) -> float:
    """As `until`, of what has to be asked."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not await holds():
        assert loop.time() - started < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.25)
    return loop.time() - started


async def put(host: Host, name: str, data: bytes, **options: Any) -> results.Put:
    """Put a file."""
    assert host.peer is not None
    return await host.peer.put(name, once(data), form="file", options=PutOptions(**options))


async def add(host: Host, data: bytes, **options: Any) -> results.Put:
    """Add a file without a name."""
    assert host.peer is not None
    return await host.peer.add(once(data), form="file", options=PutOptions(**options))


async def opened(host: Host, target: str, **options: Any) -> Opened:
    """Open a name or CID."""
    assert host.peer is not None
    return await host.peer.open(target, GetOptions(**options))


async def get(host: Host, target: str, **options: Any) -> bytes:
    """Get a file whole."""
    found = await opened(host, target, **options)
    return b"".join([piece async for piece in found.body()])


def key_of(host: Host, name: str) -> Key:
    """The key of a shared name."""
    return name_key(host.identity.network, name)


def by_distance(hosts: Sequence[Host], key: bytes) -> list[Host]:
    """Hosts, the nearest to a key first."""
    return sorted(hosts, key=lambda host: distance(node_id(host.identity.network, host.identity.peer), key))


def contact_of(host: Host) -> Contact:
    """What others know of a host."""
    return Contact.of(host.identity.network, host.identity.peer, host.address)


async def kept(host: Host, name: str) -> Record | None:
    """The record that a host has on its disk, without asking anybody."""
    raw = await host.store.record(key_of(host, name))
    return read_record(raw) if raw is not None else None


_nonces = numbers()


def version(
    writer: Host, name: str, sequence: int, value: bytes = b"", *, ttl_s: int | None = None, kind: int = INLINE
) -> Record:
    """A version that a host might write."""
    return make_record(
        writer.identity,
        RecordBody(
            format=1,
            key=key_of(writer, name),
            name=name,
            owner=None,
            sequence=sequence,
            writer=writer.identity.peer,
            nonce=next(_nonces).to_bytes(NONCE_BYTES, "big"),
            kind=kind,
            value=value,
            size=len(value),
            copies=3,
            ttl_s=ttl_s,
        ),
    )


Answer = Reply | Awaitable[Reply] | None


def answering(host: Host, answer: Callable[[PeerId, Request, Callable[[], Answer]], Answer]) -> None:
    """Let a host answer requests by `answer(who asks, what, the honest answer)`: mallory's hands."""
    endpoint = core(host).endpoint
    honest = endpoint._handler

    def lie(peer: PeerId, address: tuple[str, int], request: Request) -> Answer:
        return answer(peer, request, lambda: honest(peer, address, request))

    endpoint._handler = lie


def mute(host: Host, *kinds: type) -> None:
    """Let a host say nothing to requests of these kinds (of any, where none is named)."""
    answering(host, lambda peer, request, honest: None if not kinds or isinstance(request, kinds) else honest())


def late(host: Host, delay_s: float, *kinds: type) -> None:
    """Let a host answer requests of these kinds honestly, but late."""

    async def later(honest: Callable[[], Answer]) -> Reply:
        await asyncio.sleep(delay_s)
        answer = honest()
        return await answer if isinstance(answer, Awaitable) else answer  # type: ignore[return-value]

    answering(host, lambda peer, request, honest: later(honest) if isinstance(request, kinds) else honest())


def damaged(signed: bytes) -> bytes:
    """Signed bytes with one bit of the signature turned."""
    return signed[:-40] + bytes([signed[-40] ^ 1]) + signed[-39:]


def blocks_of(data: bytes) -> dict[Cid, bytes]:
    """The blocks of a file, its root last."""
    builder = FileBuilder()
    blocks = builder.feed(data)
    last, _ = builder.finish()
    return {block.cid: bytes(block.data) for block in [*blocks, *last]}


async def none_together(cids: Sequence[bytes]) -> dict[bytes, bytes]:
    """What takes the place of looking up small blocks together: each is asked for by itself."""
    return {}


def serving(host: Host, serve: Callable[[bytes, bytes | None], bytes | None]) -> list[bytes]:
    """Let a host send `serve(cid, what it has)` for each block asked of it; returns the CIDs it was asked for."""
    handler = core(host).bulk._handler
    honest = handler.block
    asked: list[bytes] = []

    async def block(cid: bytes) -> bytes | None:
        asked.append(cid)
        return serve(cid, await honest(cid))

    handler.block, handler.small_blocks = block, none_together  # type: ignore[method-assign]
    return asked

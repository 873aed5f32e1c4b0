"""A holder that takes a version, signs, and denies it again is not sent it with every read."""

import asyncio

from peerd.ids import PeerId
from peerd.node.given import GIVEN_MAX, Given
from peerd.sim.world import World
from peerd.wire.messages import FindValue, Request, Store, Value
from tests.unit.node.hosts import Answer, answering, by_distance, get, joined, key_of, put

ALICE, BOB = PeerId(bytes(32)), PeerId(bytes([1] * 32))


def test_the_same_is_given_to_the_same_only_after_a_while() -> None:
    given = Given()
    assert given.may(ALICE, b"one", 0.0, 10.0)
    assert not given.may(ALICE, b"one", 9.0, 10.0)
    assert given.may(ALICE, b"two", 9.0, 10.0)
    assert given.may(BOB, b"one", 9.0, 10.0)
    assert given.may(ALICE, b"one", 10.0, 10.0)


def test_what_is_remembered_is_bounded() -> None:
    given = Given()
    for number in range(GIVEN_MAX + 1):
        assert given.may(ALICE, number.to_bytes(4, "big"), 0.0, 10.0)
    assert given.may(ALICE, bytes(4), 0.0, 10.0)
    assert not given.may(ALICE, GIVEN_MAX.to_bytes(4, "big"), 0.0, 10.0)


async def test_who_denies_what_it_was_given_costs_one_store_and_not_one_for_each_read(world: World) -> None:
    hosts = await joined(world, 8)
    await put(hosts[0], "a", b"value")
    *liars, reader = by_distance(hosts, key_of(hosts[0], "a"))[:4]
    stores: list[Request] = []

    def deny(peer: PeerId, request: Request, honest: object) -> Answer:
        stores.extend([request] if isinstance(request, Store) else [])
        if isinstance(request, FindValue):
            return Value(request.rid, b"", None, b"")
        return honest()  # type: ignore[operator, no-any-return]

    for mallory in liars:
        answering(mallory, deny)
    for _ in range(20):
        assert await get(reader, "a") == b"value"
    await asyncio.sleep(1)
    assert 1 <= len(stores) <= len(liars)

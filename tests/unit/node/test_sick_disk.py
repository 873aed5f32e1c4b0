"""A peer whose own disk is full or fails goes on reading and writing through the others, and is no voice meanwhile."""

from collections.abc import Callable

import pytest

from peerd.errors import NoRoomError, NotFoundError, StoreError
from peerd.io.store.interface import MISS
from peerd.sim.host import Host

from .hosts import World, by_distance, get, joined, kept, key_of, put

BIG = bytes(range(256)) * 8_192


def sick(host: Host, *, reads: bool, error: Callable[[str], Exception] = StoreError) -> None:
    """From now on every change of a host's store fails, with `reads` every question too."""
    reading = (
        "record",
        "block",
        "has_blocks",
        "root",
        "roots",
        "records",
        "providers",
        "history",
        "usage",
        "claims",
        "seen",
    )

    def fail(operation: str) -> None:
        if reads or not operation.startswith(reading):
            raise error(f"the disk failed ({operation})")

    host.store.fault = fail
    if reads:
        host.store.peek_record = lambda key: MISS  # type: ignore[method-assign]


@pytest.mark.parametrize("reads", [False, True], ids=["writing", "all"])
async def test_what_others_have_is_read_through_a_peer_whose_disk_fails(world: World, reads: bool) -> None:
    hosts = await joined(world, 5)
    await put(hosts[1], "small", b"hello")
    await put(hosts[1], "big", BIG)
    for host in hosts:
        sick(hosts[0], reads=reads)
        assert await get(hosts[0], "small") == b"hello"
        assert await get(hosts[0], "big") == BIG
        with pytest.raises(NotFoundError):
            await get(host, "never")


@pytest.mark.parametrize("error", [StoreError, NoRoomError])
async def test_a_value_is_written_through_a_peer_whose_disk_takes_nothing(
    world: World, error: Callable[[str], Exception], faults_logged: list[str]
) -> None:
    hosts = await joined(world, 5)
    await put(hosts[0], "a", b"one")
    sick(hosts[0], reads=False, error=error)

    result = await put(hosts[0], "a", b"two")

    assert hosts[0].peer is not None
    assert (result.copies, hosts[0].peer.id_text in result.holders) == (4, False)
    assert [await get(host, "a") for host in hosts] == [b"two"] * 5
    before = await kept(hosts[0], "a")
    assert before is not None
    assert before.body.value == b"one"
    faults_logged.clear()


@pytest.mark.parametrize("error", [StoreError, NoRoomError])
async def test_a_holder_whose_disk_takes_nothing_signs_nothing_and_the_next_takes_its_share(
    world: World, error: Callable[[str], Exception], faults_logged: list[str]
) -> None:
    hosts = await joined(world, 10)
    nearest = by_distance(hosts, key_of(hosts[0], "a"))
    full, writer = nearest[0], nearest[-1]
    sick(full, reads=False, error=error)

    result = await put(writer, "a", b"hello")

    assert full.peer is not None
    assert full.peer.id_text not in result.holders
    assert result.copies == 8
    assert await kept(full, "a") is None
    faults_logged.clear()


async def test_content_put_through_a_peer_without_room_is_refused_with_words_that_say_whose_disk_it_is(
    world: World,
) -> None:
    hosts = await joined(world, 3)
    sick(hosts[0], reads=False, error=NoRoomError)

    with pytest.raises(NoRoomError, match=r"^this peer has no room to take it in: ") as refused:
        await put(hosts[0], "a", bytes(20_000))

    assert refused.value.hint is not None
    assert refused.value.hint.endswith("put it through a peer that has room (`peer --api`)")
    assert (await put(hosts[0], "b", b"short")).copies == 2


async def test_alone_a_peer_whose_disk_cannot_be_read_says_so_and_not_that_there_is_nothing(world: World) -> None:
    [alice] = await joined(world, 1)
    await put(alice, "a", b"hello")
    sick(alice, reads=True)

    with pytest.raises(StoreError):
        await get(alice, "a")
    with pytest.raises(StoreError):
        await put(alice, "a", b"again")

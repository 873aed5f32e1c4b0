"""Files by plain digest: found by everybody, never believed, and right or not given out."""

import asyncio
import hashlib
import random
from typing import Any

import pytest

from peerd.content.car_writing import encode_header, encode_section
from peerd.content.cid import Cid
from peerd.errors import IntegrityError, NotFoundError, PeerdError, UsageError
from peerd.node import digests
from peerd.node.results import GetOptions, PutOptions
from peerd.records.alias import Alias, aliases
from peerd.sim.host import Host
from peerd.wire.messages import AddProvider, Done, FindProviders, Providers
from tests.unit.content.vectors import directory

from .hosts import World, add, contact_of, core, get, joined, once, opened, put

BIG = random.Random(3).randbytes(3 * 2**20 + 11)
OTHER = random.Random(4).randbytes(2 * 2**20 + 5)
MIDDLE = random.Random(5).randbytes(300_000)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def said(host: Host, data: bytes, root: str, **changes: Any) -> bytes:
    """What a host says of the root of some bytes."""
    fields = {"digest": hashlib.sha256(data).digest(), "stamp": 1000, "life_s": 60, **changes}
    return aliases.sign(
        host.identity, Alias(format=1, root=Cid.parse(root).to_bytes(), provider=host.identity.peer, **fields)
    )


async def tell(liar: Host, hosts: list[Host], raw: bytes) -> None:
    for host in hosts:
        if host is not liar:
            await core(liar).endpoint.ask(contact_of(host), AddProvider, raw)


async def test_a_file_that_was_put_is_found_by_its_digest_everywhere(world: World) -> None:
    hosts = await joined(world, 5)
    for stored, data in ((await put(hosts[0], "big", BIG), BIG), (await add(hosts[1], MIDDLE), MIDDLE)):
        assert f"sha256:{stored.sha256}" == digest_of(data)
    await asyncio.sleep(1)
    for host in (hosts[0], hosts[4]):
        for data in (BIG, MIDDLE):
            assert await get(host, digest_of(data)) == data
            assert await get(host, digest_of(data).upper().replace("SHA", "sha")) == data
    found = await opened(hosts[2], digest_of(BIG))
    assert b"".join([piece async for piece in found.body(2**20 - 1, 5)]) == BIG[2**20 - 1 : 2**20 + 4]
    stat = await hosts[3].peer.stat(digest_of(BIG))  # type: ignore[union-attr]
    assert (stat.cid, stat.size) == (found.root.text, len(BIG))
    assert (await hosts[3].peer.find(digest_of(BIG))).hops  # type: ignore[union-attr]


async def test_a_short_value_is_found_by_its_digest_where_its_record_is(world: World) -> None:
    hosts = await joined(world, 2)
    await put(hosts[0], "motd", b"hello")
    assert await get(hosts[1], digest_of(b"hello")) == b"hello"


async def test_a_digest_of_nothing_is_not_found(world: World) -> None:
    hosts = await joined(world, 3)
    with pytest.raises(NotFoundError, match="sha256:"):
        await get(hosts[0], digest_of(b"nothing"))


async def test_who_read_a_file_by_its_digest_says_so_from_then_on(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "big", BIG)
    await asyncio.sleep(1)
    assert await get(hosts[2], digest_of(BIG)) == BIG
    noted = await core(hosts[2]).store.digest_root(hashlib.sha256(BIG).digest())
    assert noted == Cid.parse((await opened(hosts[2], "big")).info.cid).to_bytes()


async def test_a_lie_is_refused_and_the_truth_of_another_is_read(world: World) -> None:
    hosts = await joined(world, 4)
    wrong = await add(hosts[3], OTHER)
    for liar in hosts[2:]:
        await tell(liar, hosts, said(liar, BIG, wrong.cid))
    with pytest.raises(IntegrityError) as caught:
        await get(hosts[1], digest_of(BIG))
    assert caught.value.exit_code == 8
    assert core(hosts[1]).counts.rejected["wrong_alias"] == 1
    with pytest.raises(IntegrityError):
        await get(hosts[1], digest_of(BIG))
    assert core(hosts[1]).counts.rejected["wrong_alias"] == 1  # not read again
    await put(hosts[0], "big", BIG)
    await asyncio.sleep(1)
    assert await get(hosts[1], digest_of(BIG)) == BIG


async def test_of_a_large_file_the_last_piece_waits_until_all_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "VERIFIED_FIRST_BYTES", 1000)
    hosts = await joined(world, 4)
    wrong = await add(hosts[3], OTHER)
    await tell(hosts[2], hosts, said(hosts[2], BIG, wrong.cid))
    given = 0
    with pytest.raises(IntegrityError):
        async for piece in (await opened(hosts[1], digest_of(BIG))).body():
            given += len(piece)
    assert 0 < given < len(OTHER)
    found = await opened(hosts[0], digest_of(BIG))
    with pytest.raises(IntegrityError):
        await anext(aiter(found.body(5, 10)))
    await put(hosts[0], "big", BIG)
    await asyncio.sleep(1)
    assert await get(hosts[1], digest_of(BIG)) == BIG


async def test_what_is_said_of_a_directory_or_of_nothing_is_refused(world: World) -> None:
    hosts = await joined(world, 3)
    missing = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    await tell(hosts[2], hosts, said(hosts[2], BIG, missing))
    with pytest.raises(PeerdError) as caught:
        await get(hosts[1], digest_of(BIG))
    assert caught.value.exit_code in (3, 5)


async def test_an_alias_is_kept_under_its_digest_and_ends(world: World) -> None:
    hosts = await joined(world, 2)
    wrong = await add(hosts[0], OTHER)
    raw = said(hosts[0], BIG, wrong.cid)
    reply = await core(hosts[0]).endpoint.ask(contact_of(hosts[1]), AddProvider, raw)
    assert isinstance(reply, Done)
    key = hashlib.sha256(BIG).digest()
    answer = await core(hosts[0]).endpoint.ask(contact_of(hosts[1]), FindProviders, key)
    assert isinstance(answer, Providers) and answer.providers == [raw]
    await asyncio.sleep(61)
    answer = await core(hosts[0]).endpoint.ask(contact_of(hosts[1]), FindProviders, key)
    assert isinstance(answer, Providers) and answer.providers == []


async def test_the_word_is_given_again_before_it_ends_and_after_a_restart(world: World) -> None:
    hosts = await joined(world, 3)
    await put(hosts[0], "big", BIG)
    await core(hosts[0]).digests.announce_all()
    rows = await core(hosts[0]).store.digests(None, 10)
    assert [row.digest for row in rows] == [hashlib.sha256(BIG).digest()]
    life_s = core(hosts[0]).settings.republish_interval_s * 3 + 60
    await asyncio.sleep(life_s * 1.5)
    assert await get(hosts[2], digest_of(BIG)) == BIG


async def test_a_file_above_the_bound_is_not_hashed_once_more(world: World) -> None:
    hosts = await joined(world, 2)
    settings = core(hosts[0]).settings
    object.__setattr__(core(hosts[0]), "settings", type(settings)(**{**_fields(settings), "digest_max_bytes": 2**20}))
    await put(hosts[0], "big", BIG)
    assert await core(hosts[0]).store.digests(None, 10) == []


async def test_nothing_is_removed_by_its_digest_nor_has_it_a_history(world: World) -> None:
    hosts = await joined(world, 1)
    with pytest.raises(UsageError):
        await hosts[0].peer.remove(digest_of(BIG), PutOptions())  # type: ignore[union-attr]
    with pytest.raises(UsageError):
        await hosts[0].peer.history(digest_of(BIG))  # type: ignore[union-attr]
    with pytest.raises(UsageError):
        await hosts[0].peer.open("sha256:abc", GetOptions())  # type: ignore[union-attr]


async def test_a_directory_is_no_file_of_any_digest(world: World) -> None:
    hosts = await joined(world, 2)

    blocks, node = directory([["a", 5]])
    car = encode_header([node.cid]) + b"".join(encode_section(block.cid, block.data) for block in blocks)
    await hosts[0].peer.formats.import_car(once(car), PutOptions())  # type: ignore[union-attr]
    await tell(hosts[0], hosts, said(hosts[0], BIG, node.cid.text))
    with pytest.raises(IntegrityError):
        await get(hosts[1], digest_of(BIG))


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}

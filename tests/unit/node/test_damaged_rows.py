"""Rows that a disk has damaged: they stop no start and no repair, and what they say is heard again."""

import pytest

from peerd.content.cid import Cid
from peerd.ids import Key, PeerId
from peerd.io.store.remembered import RememberedPeer
from peerd.kad.groups import is_address
from peerd.node import peer
from peerd.node.claims import read_row
from peerd.sim.host import Host
from peerd.sim.world import World
from tests.unit.node.hosts import by_distance, core, eventually, get, joined, put

JUNK = b"\x00\xff"
NOBODY = PeerId(bytes(range(32)))
FAR_S = 1e12
DAMAGED_CLAIM = b"added:" + NOBODY + JUNK


async def test_a_peer_starts_whatever_its_disk_did_to_what_it_remembers_of_others(world: World) -> None:
    alice, _ = await joined(world, 2)
    await put(alice, "a", b"value")
    store = core(alice).store
    await store.put_revocation(NOBODY, JUNK, known=True)
    await store.note_forgotten(NOBODY, JUNK)
    now = store.now_s()
    await store.remember_peers([RememberedPeer(NOBODY, "evil\x1b[31m", 7433, now)])
    await store.remember_peers([RememberedPeer(PeerId(bytes(32)), "10.0.0.1", 99_999, now)])

    await alice.crash(power=False)
    await alice.start()

    assert await get(alice, "a") == b"value"
    assert not {NOBODY, PeerId(bytes(32))} & set(core(alice).members.all)


async def test_a_damaged_register_keeps_nothing_from_being_handed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = await joined(world, 2)
    handed: list[object] = []

    async def hand_over(of: object) -> None:
        handed.append(of)

    monkeypatch.setattr(peer, "hand_over", hand_over)
    await core(alice).store.put_register(Key(bytes(32)), JUNK, only_if=None)

    left = core(alice)
    await alice.stop()

    assert handed == [left]


def test_what_is_no_address_is_none() -> None:
    for good in (("10.0.0.1", 1), ("fe80::1%eth0", 65_535)):
        assert is_address(good)
    for bad in (("", 1), ("host", 1), ("10.0.0.1", 0), ("10.0.0.1", 65_536), ("10.0.0.1", -5)):
        assert not is_address(bad)


async def test_damaged_claims_and_announcements_keep_nothing_from_its_copies(world: World) -> None:
    hosts = await joined(world, 6)
    cids = [(await put(hosts[0], f"file {n}", bytes([n]) * 5000)).cid for n in range(6)]
    for host in hosts:
        for text in cids[:3]:
            cid = Cid.parse(text)
            await core(host).store.put_provider(Key(cid.digest), NOBODY, JUNK, FAR_S)
            await core(host).store.add_claim(cid.to_bytes(), DAMAGED_CLAIM)
    for host in by_distance(hosts, Cid.parse(cids[0]).digest)[:2]:
        await host.crash(power=True)
    left = [host for host in hosts if host.lives]

    async def whole() -> bool:
        return min([await copies_of(left, cid) for cid in cids]) >= 3

    await eventually(whole, within_s=40)
    for n, text in enumerate(cids):
        assert await get(left[0], text) == bytes([n]) * 5000
    assert read_row(DAMAGED_CLAIM) is None


async def copies_of(hosts: list[Host], cid: str) -> int:
    """How many of these have a promised copy of some content, whole."""
    roots = [await host.store.root(Cid.parse(cid).to_bytes()) for host in hosts]
    return sum(root is not None and root.complete and root.class_ != "cache" for root in roots)

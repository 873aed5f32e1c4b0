"""Evidence spreads and puts out whom it convicts, for good; what is no evidence does nothing but to its teller."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from peerd.errors import PeerdError, WireError
from peerd.ids import PeerId, peer_id_text
from peerd.node import convicting
from peerd.node.gossip import CONVICTED
from peerd.node.holding import Kept, keep_record
from peerd.records.evidence import EQUIVOCATION, digest_of, pack_evidence
from peerd.records.record import Record, make_record
from peerd.sim.host import Host
from peerd.trust.evidence import convicts
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.messages import FindValue, Store, Tell
from tests.hostile.base import HonestBytes, Liar
from tests.hostile.clan import Clan
from tests.unit.node.hosts import World, contact_of, core, get, joined, key_of, put, until, version


def two_of(host: Host, name: str = "a") -> tuple[Record, Record]:
    """One version of a name with two contents."""
    one = version(host, name, 7, b"one")
    return one, make_record(host.identity, replace(one.body, value=b"two"))


def evidence_against(host: Host) -> bytes:
    one, other = two_of(host)
    return pack_evidence(EQUIVOCATION, host.identity.peer, one.raw, other.raw)


def out_at(hosts: Sequence[Host], peer: PeerId) -> list[bool]:
    return [core(host).trust.is_out(peer) for host in hosts]


async def test_evidence_convinces_everybody_and_who_is_convicted_is_nowhere(world: World) -> None:
    hosts = await joined(world, 8)
    mallory = hosts.pop()
    who = mallory.identity.peer
    await put(mallory, "hers", b"hers")
    await core(hosts[0]).convicting.convict(evidence_against(mallory))
    took_s = await until(lambda: all(out_at(hosts, who)))
    assert took_s < 10
    for host in hosts:
        members = core(host).members
        assert members.contact(who) is None
        assert who not in members.all
        assert who not in core(host).endpoint.sessions
        assert who not in members.expected_holders(key_of(host, "hers"))
        with pytest.raises(PeerdError):
            await core(host).endpoint.ask(contact_of(mallory), FindValue, bytes(32), timeout_s=1.0)
        with pytest.raises(PeerdError):
            await core(host).bulk.get(contact_of(mallory))
    with pytest.raises(PeerdError):
        await core(mallory).endpoint.connect(hosts[0].address, timeout_s=2.0)
    assert await get(hosts[0], "hers") == b"hers"


async def test_evidence_is_kept_over_a_restart_and_told_to_newcomers(world: World) -> None:
    hosts = await joined(world, 4)
    mallory = hosts.pop()
    await core(hosts[0]).convicting.convict(evidence_against(mallory))
    await until(lambda: all(out_at(hosts, mallory.identity.peer)))
    await hosts[1].crash(power=True)
    await hosts[1].start()
    assert core(hosts[1]).trust.is_out(mallory.identity.peer)
    carol = await world.join()
    await until(lambda: core(carol).trust.is_out(mallory.identity.peer))
    (shown,) = core(carol).convicting.listed()
    assert shown.id == peer_id_text(mallory.identity.peer)
    assert shown.kind == "equivocation"


async def test_a_holder_that_is_given_two_contents_of_one_version_convicts_the_writer(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    one, other = two_of(mallory)
    assert isinstance(await keep_record(core(alice), one, None), Kept)
    await keep_record(core(alice), other, None)
    await until(lambda: all(out_at([alice, bob], mallory.identity.peer)))


async def test_a_writer_that_was_put_back_to_a_backup_is_not_convicted(world: World) -> None:
    alice, bob, carol = await joined(world, 3)
    carol.copy_store()
    await put(carol, "a", b"one")
    await carol.crash(power=True)
    carol.put_back()
    await carol.start()
    await asyncio.sleep(5)
    await put(carol, "a", b"two")
    await asyncio.sleep(5)
    assert out_at([alice, bob], carol.identity.peer) == [False, False]


class Accuses(Liar):
    """Tells of evidence that it has not, or that convicts nobody."""

    accused: PeerId
    shows = b""
    asked = 0

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.EVIDENCE:
            self.asked += 1
            return encode([self.shows] if self.shows else [])
        return await honest()

    async def accuse(self, victim: Host, digest: bytes) -> None:
        item = bytes([CONVICTED]) + digest + self.accused
        await self.core.endpoint.ask(contact_of(victim), Tell, (item,))


FORGED = {
    "nothing": lambda raw: b"",
    "one bit": lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:],
    "junk": lambda raw: bytes(500),
    "cut": lambda raw: raw[:-1],
}


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_evidence_convinces_nobody_and_its_teller_is_noted(world: World, forged: str) -> None:
    alice, bob, mallory = await joined(world, 3)
    liar = Accuses()
    liar.accused = bob.identity.peer
    liar.shows = FORGED[forged](evidence_against(bob))
    liar.install(core(mallory), Clan())
    for at in range(10):
        await liar.accuse(alice, digest_of(liar.shows or bytes([at])))
        await asyncio.sleep(1)
    assert out_at([alice], bob.identity.peer) == [False]
    assert core(alice).trust.faults_of(mallory.identity.peer)["malformed"] in (3, 4), (
        "shunned then, and not asked again"
    )
    assert core(alice).trust.faults_of(bob.identity.peer) == {}
    assert await alice.store.evidence() == []


async def test_evidence_against_somebody_else_than_was_told_counts_for_whom_it_convicts(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    liar = Accuses()
    liar.accused = bob.identity.peer
    liar.shows = evidence_against(mallory)
    liar.install(core(mallory), Clan())
    await liar.accuse(alice, digest_of(liar.shows))
    await until(lambda: core(alice).trust.is_out(mallory.identity.peer))
    assert not core(alice).trust.is_out(bob.identity.peer)


async def test_evidence_against_ourselves_puts_nobody_out(world: World, faults_logged: list[str]) -> None:
    alice, bob = await joined(world, 2)
    await core(alice).convicting._believe(evidence_against(alice))
    assert not core(alice).trust.is_out(alice.identity.peer)
    assert core(alice).members.contact(bob.identity.peer) is not None
    faults_logged.clear()


async def test_key_pairs_that_convict_themselves_crowd_out_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convicting, "STRANGERS_MAX", 6)
    monkeypatch.setattr(convicting, "STRANGERS_TOLD_MAX", 4)
    alice, bob, mallory = await joined(world, 3)
    known = evidence_against(bob)
    await core(alice).convicting.convict(known)
    liar = Accuses()
    liar.install(core(mallory), Clan())
    strangers = [world.add() for _ in range(8)]
    for stranger in strangers:
        liar.accused = stranger.identity.peer
        liar.shows = evidence_against(stranger)
        await liar.accuse(alice, digest_of(liar.shows))
        await asyncio.sleep(1)
    kept = {convicts(raw, alice.identity.network, core(alice).verifier) for raw in await alice.store.evidence()}
    assert bob.identity.peer in kept
    assert len(kept) == 1 + 4
    assert liar.asked == 4, "what is too much is not even fetched"


async def test_evidence_that_is_none_is_refused_where_it_is_found(world: World) -> None:
    alice, bob = await joined(world, 2)
    one = version(bob, "a", 7, b"one")
    with pytest.raises(WireError):
        await core(alice).convicting.convict(pack_evidence(EQUIVOCATION, bob.identity.peer, one.raw, one.raw))


async def test_key_pairs_told_under_the_name_of_a_member_are_counted_as_what_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convicting, "STRANGERS_TOLD_MAX", 2)
    alice, bob, mallory = await joined(world, 3)
    liar = Accuses()
    liar.install(core(mallory), Clan())
    liar.accused = bob.identity.peer
    for stranger in [world.add() for _ in range(5)]:
        liar.shows = evidence_against(stranger)
        await liar.accuse(alice, digest_of(liar.shows))
        await asyncio.sleep(1)
    assert len(core(alice).convicting.listed()) == 2


async def test_writers_made_up_to_be_convicted_fill_nothing_and_are_pushed_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convicting, "STRANGERS_MAX", 4)
    alice, bob, mallory = await joined(world, 3)
    told = core(alice).endpoint.counts.sent_messages
    before = told["Tell"]
    for at, stranger in enumerate(world.add() for _ in range(12)):
        for record in two_of(stranger, f"name-{at}"):
            await core(mallory).endpoint.ask(contact_of(alice), Store, record.raw, None)
    await asyncio.sleep(1)
    assert len(core(alice).convicting.listed()) == 4
    assert told["Tell"] == before
    # The bound outlives a restart, and members are convicted all the same.
    await alice.crash(power=True)
    await alice.start()
    await until(lambda: core(alice).members.contact(mallory.identity.peer) is not None)
    await core(alice).convicting.equivocated(*two_of(world.add()))
    assert len(core(alice).convicting.listed()) == 4
    await core(alice).convicting.convict(evidence_against(mallory))
    await until(lambda: all(out_at([alice, bob], mallory.identity.peer)))

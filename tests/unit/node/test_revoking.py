"""Revoked keys: refused by everybody within seconds, after restarts and absences, for good; what they wrote stays."""

import asyncio
from collections.abc import Callable

import pytest

from peerd.content.cid import Cid
from peerd.errors import NoRoomError, PeerdError, RefusedError, RevokedError, UnreachableError, UsageError, WireError
from peerd.identity import ED25519, Identity
from peerd.ids import PeerId, network_id
from peerd.kad.contact import Address
from peerd.node import revoking
from peerd.node.holding import keep_record
from peerd.node.providing import find_providers
from peerd.records.provider import REPLICA, Provider, providers
from peerd.records.revocation import STOLEN, Revocation, pack_text, parse_text, revocations, verify_revocation
from peerd.records.statement import Verifier
from peerd.sim.host import Host
from peerd.sim.world import World
from peerd.wire import limits
from peerd.wire.messages import AddProvider, FindValue, Request, Store, Tell, Value
from tests.unit.node.hosts import (
    Answer,
    answering,
    contact_of,
    core,
    get,
    joined,
    kept,
    key_of,
    meshed,
    put,
    until,
    version,
)


def signed(identity: Identity, *, of: PeerId | None = None, stamp: int = 1) -> bytes:
    """A revocation of this identity's own key, or of another's."""
    said = Revocation(format=1, signer=identity.peer, peer=of or identity.peer, stamp=stamp, reason=STOLEN)
    return revocations.sign(identity, said)


def revocation_of(host: Host) -> bytes:
    return pack_text(signed(host.identity))


def is_out(host: Host, other: Host) -> bool:
    return core(host).trust.trust_of(other.identity.peer) == "revoked"


async def revoke(by: Host, whom: Host) -> None:
    assert by.peer is not None
    await by.peer.revoking.revoke(revocation_of(whom))


async def is_refused(by: Host, host: Host) -> None:
    """Check that a host that goes on all the same gets nothing from another: no answer, session or connection."""
    ask = core(host).endpoint.ask(contact_of(by), FindValue, key_of(host, "a"), True, timeout_s=1.0)
    with pytest.raises(UnreachableError):
        await ask
    with pytest.raises(UnreachableError):
        await core(host).endpoint.connect(by.address, timeout_s=1.0)
    core(host).bulk.drop(by.identity.peer)
    with pytest.raises((UnreachableError, WireError)):
        connection = await core(host).bulk.get(contact_of(by))
        await connection.ask(16, bytes(36), left={bytes(36)}, deliver=lambda *_: None)
    assert core(by).members.contact(host.identity.peer) is None
    assert core(by).endpoint.sessions.of(host.identity.peer) is None
    assert host.identity.peer not in core(by).members.all


@pytest.fixture
def expected() -> int:
    return 20


@pytest.mark.slow
async def test_all_of_twenty_refuse_a_revoked_peer_within_two_seconds(world: World) -> None:
    alice, *others, mallory = await joined(world, 20)
    honest = [alice, *others]
    before = core(alice).members.alive_count()

    await revoke(alice, mallory)

    assert await until(lambda: all(is_out(host, mallory) for host in honest), within_s=2) < 2
    assert mallory.peer is not None
    await until(mallory.peer.revoking.ours.is_set, within_s=5)  # it was told why
    for host in honest:
        await is_refused(host, mallory)
        assert core(host).members.alive_count() == before - 1
    await asyncio.sleep(60)
    for host in honest:
        assert core(host).members.alive_count() == before - 1
    await put(alice, "x", b"y")
    assert await get(others[3], "x") == b"y"


async def test_a_peer_that_is_put_out_in_the_middle_of_a_handshake_gets_no_session(world: World) -> None:
    alice, mallory = await joined(world, 2)
    core(alice).endpoint.drop_session(mallory.identity.peer)
    core(mallory).endpoint.drop_session(alice.identity.peer)
    handshakes = core(alice).endpoint._handshakes
    on_challenge = handshakes._on_challenge

    def then_hear(data: bytes, address: Address) -> None:
        on_challenge(data, address)  # our finish is on its way
        core(alice).revoking.hear(mallory.identity.peer, signed(mallory.identity))

    handshakes._on_challenge = then_hear  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        await core(alice).endpoint.connect(mallory.address, timeout_s=1.0)

    assert is_out(alice, mallory)
    assert core(alice).endpoint.sessions.of(mallory.identity.peer) is None
    assert mallory.identity.peer not in core(alice).members.all


async def test_it_is_refused_after_a_restart_from_the_first_moment(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    await revoke(alice, mallory)
    await until(lambda: is_out(bob, mallory), within_s=2)
    await asyncio.sleep(1)
    for host in (alice, bob):
        await host.crash(power=True)
        await host.start()
        assert is_out(host, mallory)
        assert mallory.identity.peer not in core(host).members.all
    await meshed([alice, bob])
    await is_refused(alice, mallory)


async def test_a_peer_that_was_away_refuses_it_once_it_has_met_the_others(world: World) -> None:
    alice, bob, carol, mallory = await joined(world, 4)
    await carol.stop()
    await revoke(alice, mallory)
    await until(lambda: is_out(bob, mallory), within_s=2)
    await asyncio.sleep(30)  # it is no news any more

    await carol.start()
    # Before it says of anything that it is not there, it knows.
    await core(carol).settled.wait()

    assert is_out(carol, mallory)
    await is_refused(carol, mallory)


async def test_who_missed_it_all_hears_of_it_when_it_compares(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    bob_hears = core(bob).revoking.hear
    core(bob).revoking.hear = lambda teller, raw: None  # type: ignore[method-assign]
    await revoke(alice, mallory)
    await asyncio.sleep(5)
    assert not is_out(bob, mallory)
    core(bob).revoking.hear = bob_hears  # type: ignore[method-assign]

    await until(lambda: is_out(bob, mallory), within_s=core(bob).settings.repair_interval_s * 2)


async def test_a_whole_list_is_had_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REVOCATIONS_PER_FRAME_MAX", 4)
    alice = (await joined(world, 1))[0]
    assert alice.peer is not None
    for number in range(11):
        await alice.peer.revoking.revoke(pack_text(signed(someone(world, number))))
    bob = await world.join()
    await until(lambda: len(core(bob).revoking.listed()) == 11, within_s=5)
    assert core(bob).revoking.page(bytes(32) + core(alice).revoking._digest()) == []


def someone(world: World, number: int) -> Identity:
    return Identity(ED25519.signing_key(number.to_bytes(32, "big")), world.overlay, ED25519)


async def test_nothing_takes_it_back(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    await revoke(alice, mallory)
    await until(lambda: is_out(bob, mallory), within_s=2)
    kept_first = core(bob).revoking.listed()
    # Told again, with another stamp and reason; another start of the same key; what ends other notices.
    core(bob).revoking.hear(alice.identity.peer, signed(mallory.identity, stamp=99))
    core(bob).members.unforget(mallory.identity.peer)
    core(bob).gossip.came(mallory.identity.peer)
    core(bob).trust.put_out(mallory.identity.peer, "convicted")
    await mallory.crash(power=False)
    with pytest.raises(RevokedError, match="is revoked"):
        await mallory.start()
    assert core(bob).revoking.listed() == kept_first
    assert is_out(bob, mallory)


async def test_only_the_key_itself_revokes(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    assert alice.peer is not None
    others_network = Identity(bob.identity.key, network_id("another"), bob.identity.suite)
    own = signed(bob.identity)
    wrong = [
        (signed(mallory.identity, of=bob.identity.peer), "authority"),
        (signed(others_network), "signature"),
        (own[:-1] + bytes([own[-1] ^ 1]), "signature"),
        (own[:70] + bytes([own[70] ^ 1]) + own[71:], None),
        (own[:-1], None),
        (own + b"\0", None),
        (b"", "statement_size"),
    ]
    for raw, reason in wrong:
        with pytest.raises(WireError, match=reason):
            core(alice).revoking.hear(mallory.identity.peer, raw)
        with pytest.raises(UsageError, match="no revocation of this network"):
            await alice.peer.revoking.revoke(pack_text(raw))
    told = await core(mallory).endpoint.ask(contact_of(alice), Tell, tuple(b"\x07" + raw for raw, _ in wrong[:3]))
    assert told is not None
    assert core(alice).counts.rejected["authority"] == 1
    await asyncio.sleep(1)
    assert not is_out(alice, bob) and core(alice).revoking.listed() == []


def test_an_authority_may_revoke_others() -> None:
    root, bob = (Identity(ED25519.signing_key(bytes([n]) * 32), network_id("n"), ED25519) for n in (1, 2))
    raw = signed(root, of=bob.peer)
    verifier = Verifier(bob)

    assert verify_revocation(raw, verifier, lambda signer: signer == root.peer).peer == bob.peer
    with pytest.raises(WireError, match="authority"):
        verify_revocation(raw, verifier, lambda signer: signer == bob.peer)


async def test_keys_that_nobody_knows_are_kept_within_a_bound_and_never_keep_out_a_member(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoking, "STRANGERS_TOLD_MAX", 3)
    monkeypatch.setattr(revoking, "STRANGERS_MAX", 5)
    alice, bob, mallory, carol = await joined(world, 4)
    for teller, numbers, kept_then in ((mallory, range(10), 3), (carol, range(10, 20), 5)):
        for number in numbers:
            core(alice).revoking.hear(teller.identity.peer, signed(someone(world, number)))
        assert len(core(alice).revoking.listed()) == kept_then

    core(alice).revoking.hear(mallory.identity.peer, signed(bob.identity))

    assert is_out(alice, bob)
    # The bound outlives a restart.
    await asyncio.sleep(1)
    await alice.crash(power=True)
    await alice.start()
    core(alice).revoking.hear(carol.identity.peer, signed(someone(world, 30)))
    assert len(core(alice).revoking.listed()) == 6


async def test_a_revocation_that_the_disk_does_not_take_is_told_to_the_user_and_believed_of_others(
    world: World,
) -> None:
    alice, bob, mallory = await joined(world, 3)
    assert alice.peer is not None
    for host in (alice, bob):
        host.disk.attach(host.store, "full")

    with pytest.raises(NoRoomError):
        await alice.peer.revoking.revoke(revocation_of(mallory))
    core(bob).revoking.hear(alice.identity.peer, signed(mallory.identity))

    assert not is_out(alice, bob)
    assert is_out(bob, mallory)


async def test_what_it_wrote_stays_and_goes_on_to_new_holders(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    await put(mallory, "a", b"of mallory")
    await revoke(alice, mallory)
    await until(lambda: is_out(bob, mallory), within_s=2)
    carol = await world.join()

    assert [await get(host, "a") for host in (alice, bob, carol)] == [b"of mallory"] * 3

    async def has() -> bool:
        return await kept(carol, "a") is not None

    for _ in range(200):
        if await has():
            break
        await asyncio.sleep(1)
    assert await has()


async def test_what_its_key_signs_from_then_on_is_kept_by_nobody_whoever_brings_it(
    world: World,
) -> None:
    alice, bob, carol, mallory = await joined(world, 4)
    await put(alice, "a", b"before")
    await revoke(alice, mallory)
    await until(lambda: all(is_out(host, mallory) for host in (bob, carol)), within_s=2)
    forged = version(mallory, "a", 9, b"after")

    for host in (alice, bob):
        with pytest.raises(RefusedError):
            await core(carol).endpoint.ask(contact_of(host), Store, forged.raw, None)
        assert core(host).counts.rejected["revoked"] == 1
        with pytest.raises(WireError, match="revoked"):
            await keep_record(core(host), forged, None)
    assert [await get(host, "a") for host in (alice, bob, carol)] == [b"before"] * 3


async def test_who_shows_what_its_key_signs_now_is_believed_by_nobody(world: World) -> None:
    alice, bob, carol, dave, mallory = await joined(world, 5)
    await put(mallory, "a", b"before")
    await revoke(alice, mallory)
    await until(lambda: all(is_out(host, mallory) for host in (bob, carol, dave)), within_s=2)
    forged = version(mallory, "a", 9, b"after")

    def lie(peer: PeerId, request: Request, honest: Callable[[], Answer]) -> Answer:
        return Value(request.rid, forged.raw, None, b"") if isinstance(request, FindValue) else honest()

    answering(carol, lie)
    for host in (alice, bob, dave):
        assert await get(host, "a") == b"before"
        held = await kept(host, "a")
        assert held is not None and held.body.sequence == 1
    await put(dave, "a", b"next")
    assert await get(bob, "a") == b"next"


async def test_what_it_says_it_has_is_not_believed(world: World) -> None:
    alice, bob, mallory = await joined(world, 3)
    stored = await put(bob, "a", b"x" * 5000)
    root = Cid.parse(stored.cid)
    said = Provider(1, root.to_bytes(), mallory.identity.peer, REPLICA, 2**50, 3600)
    raw = providers.sign(mallory.identity, said)
    await core(bob).endpoint.ask(contact_of(alice), AddProvider, raw)
    assert mallory.identity.peer in (await find_providers(core(alice), root)).providers
    await revoke(alice, mallory)
    await until(lambda: is_out(bob, mallory), within_s=2)

    with pytest.raises(RefusedError):
        await core(bob).endpoint.ask(contact_of(alice), AddProvider, raw)
    assert mallory.identity.peer not in (await find_providers(core(alice), root)).providers
    assert mallory.identity.peer not in (await find_providers(core(bob), root)).providers


async def test_a_peer_that_hands_in_its_own_revocation_tells_the_others_and_has_to_stop(
    world: World,
) -> None:
    alice, bob, carol = await joined(world, 3)
    await revoke(carol, carol)
    assert carol.peer is not None
    await until(carol.peer.revoking.ours.is_set)
    await until(lambda: is_out(alice, carol) and is_out(bob, carol), within_s=2)
    started = world.loop.time()
    await carol.stop()

    assert world.loop.time() - started < 1  # it neither says goodbye nor hands over: nobody would listen
    with pytest.raises(PeerdError, match="is revoked"):
        await carol.start()


def test_a_file_is_a_line_of_digits() -> None:
    raw = bytes(range(140))

    assert parse_text(pack_text(raw)) == raw == parse_text(b"  " + pack_text(raw) + b"\r\n")
    for text in (b"xyz", b"0", b"\xff\xfe", "é".encode(), b"00" * 400):
        with pytest.raises(WireError):
            parse_text(text)

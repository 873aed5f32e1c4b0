"""Whoever is honest never denies what it promised in the same run, whatever has become of it."""

import hashlib

from peerd.content.cid import Cid
from peerd.node import holding, proving
from peerd.node.answering import answer
from peerd.node.challenge import DENIED, PROVEN, Challenge
from peerd.node.holding import keep_record, lay_floor
from peerd.records.attestation import HAS, HAS_NOT, NEWER, OVER, UNKNOWN, Attestation, attestations, proof_of
from peerd.records.receipt import OF_CONTENT, OF_RECORD, receipts
from peerd.records.record import Record, body_bytes
from peerd.sim.host import Host
from peerd.trust.evidence import breaks
from peerd.wire import frames
from peerd.wire.messages import Attest, Attested, Prove
from tests.unit.node.hosts import World, add, core, joined, version

NONCE = bytes(range(16))


async def word(host: Host, record: Record) -> Attestation:
    """What a host signs of a record."""
    request = Attest(1, OF_RECORD, record.key, record.version.digest, NONCE)
    reply = await proving.attest(core(host), request)
    assert isinstance(reply, Attested)
    return attestations.verify(reply.statement, core(host).verifier)


async def stored(host: Host, name: str, sequence: int, data: bytes) -> Record:
    record = version(host, name, sequence, data)
    assert isinstance(await keep_record(core(host), record, None), holding.Kept)
    return record


async def test_who_has_it_proves_it(world: World) -> None:
    alice = await world.join()
    record = await stored(alice, "a", 1, b"hello")
    said = await word(alice, record)
    assert (said.said, said.proof) == (HAS, proof_of(NONCE, body_bytes(record.raw)))
    assert said.store == core(alice).promises.run


async def test_who_never_had_it_says_so(world: World) -> None:
    alice = await world.join()
    assert (await word(alice, version(alice, "a", 1, b"hello"))).said == HAS_NOT


async def test_what_was_promised_and_lost_is_not_denied(world: World) -> None:
    alice = await world.join()
    record = await stored(alice, "a", 1, b"hello")
    await alice.store.drop_record(record.key)
    assert (await word(alice, record)).said == UNKNOWN


async def test_after_a_restart_what_was_lost_is_denied_in_another_run(world: World) -> None:
    alice = await world.join()
    record = await stored(alice, "a", 1, b"hello")
    before = core(alice).promises.run
    await alice.crash(power=False)
    alice.store.reopen()
    await alice.store.drop_record(record.key)
    await alice.start()
    said = await word(alice, record)
    assert (said.said, said.store != before) == (HAS_NOT, True)


async def test_a_machine_put_back_to_a_snapshot_of_its_memory_is_not_convicted_of_what_it_has_forgotten(
    world: World,
) -> None:
    alice = await world.join()
    promises = core(alice).promises
    remembered, run = bytes(promises._given), promises.run
    record = version(alice, "a", 1, b"hello")
    kept = await keep_record(core(alice), record, None)
    assert isinstance(kept, holding.Kept)
    assert promises.run == run
    await alice.store.drop_record(record.key)
    promises._given = bytearray(remembered)
    alice.clock.skew_s += 60  # set right

    said = await word(alice, record)

    assert said.said == HAS_NOT
    assert not breaks(receipts.read(kept.receipt), said)


async def test_what_was_replaced_or_deleted_is_excused(world: World) -> None:
    alice = await world.join()
    old = await stored(alice, "a", 1, b"old")
    await stored(alice, "a", 2, b"new")
    assert (await word(alice, old)).said == NEWER
    gone = await stored(alice, "b", 1, b"gone")
    await lay_floor(core(alice), gone.key, holding.floor_of(gone, ends=None))
    assert (await word(alice, gone)).said == OVER


async def test_who_has_another_version_and_never_promised_this_one_says_so(world: World) -> None:
    alice = await world.join()
    await stored(alice, "a", 1, b"old")
    assert (await word(alice, version(alice, "a", 2, b"new"))).said == HAS_NOT


async def test_the_memory_of_promises_errs_only_towards_having_promised(world: World) -> None:
    alice = await world.join()
    promises = core(alice).promises
    given = [bytes([at & 255, at >> 8]) * 16 for at in range(500)]
    for key in given:
        await promises.receipt(OF_RECORD, key, key, 1)
    assert all(promises.may_have_promised(OF_RECORD, key, key) for key in given)
    assert not any(promises.may_have_promised(OF_CONTENT, key, key) for key in given)


async def test_stamps_of_what_one_peer_signs_only_grow(world: World) -> None:
    alice = await world.join()
    record = await stored(alice, "a", 1, b"hello")
    stamps = []
    for _ in range(3):
        stamps.append((await word(alice, record)).stamp)
        alice.clock.skew_s -= 3600
    assert stamps == sorted(set(stamps))


async def test_a_challenge_is_met_by_who_has_the_version_alone(world: World) -> None:
    alice = await world.join()
    here, not_here = await stored(alice, "a", 1, b"hello"), version(alice, "b", 1, b"x")
    older = version(alice, "a", 1, b"other")
    asked = Challenge(alice._entropy, [here, not_here, older])
    reply = await proving.prove(core(alice), Prove(1, asked.nonce, asked.versions))
    assert asked.judge(reply) == [PROVEN, DENIED, DENIED]
    again = Challenge(alice._entropy, [here])
    assert again.judge(await proving.prove(core(alice), Prove(1, again.nonce, again.versions))) == [PROVEN]
    replayed = await proving.prove(core(alice), Prove(1, asked.nonce, again.versions))
    assert again.judge(replayed) != [PROVEN]


async def test_content_is_proven_by_a_leaf_that_the_nonce_chooses(world: World) -> None:
    alice, bob = await joined(world, 2)
    data = b"".join(bytes([at]) * (1 << 20) for at in range(4))
    root = Cid.parse((await add(alice, data)).cid)
    nonces = [bytes([at]) * 16 for at in range(24)]

    async def proofs(host: Host) -> list[bytes]:
        return [await answer(core(host), alice.identity.peer, frames.PROVE, each + root.to_bytes()) for each in nonces]

    whole = await proofs(alice)
    assert await proofs(bob) == whole
    assert len(set(whole)) == len(nonces)
    leaf = Cid(0x55, hashlib.sha256(data[: 1 << 20]).digest())
    await bob.store.delete_blocks([leaf])
    missing = [proof for proof in await proofs(bob) if proof == proving.NO_PROOF]
    assert 0 < len(missing) < len(nonces)

"""Who is honest is convicted by nothing that can be made of what it signed; who is not, by what it signed alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.identity import Identity
from peerd.ids import name_key
from peerd.records.attestation import (
    HAS,
    HAS_NOT,
    NEWER,
    OVER,
    UNKNOWN,
    Attestation,
    attestations,
    proof_of,
)
from peerd.records.evidence import BROKEN_PROMISE, EQUIVOCATION, FALSE_PROOF, KIND_NAMES, Evidence, pack_evidence
from peerd.records.receipt import OF_CONTENT, OF_RECORD, Receipt, receipts
from peerd.records.record import INLINE, Record, RecordBody, body_bytes, make_record
from peerd.records.statement import Verifier
from peerd.trust.evidence import convicts
from peerd.wire.codec import encode
from tests.vectors.cast import OPEN, PRIVATE, identity, seed

ALICE, BOB, MALLORY = identity("alice"), identity("bob"), identity("mallory")
NONCE, OTHER_NONCE = bytes(range(16)), bytes(range(1, 17))
LIFE_S, STAMP = 60, 1_000_000
RUN, NEXT_RUN = seed("run")[:16], seed("next run")[:16]


def record(who: Identity = ALICE, **changes: Any) -> Record:
    """A version of a name."""
    fields: dict[str, Any] = {
        "format": 1,
        "key": name_key(who.network, "a"),
        "name": "a",
        "owner": None,
        "sequence": 1,
        "writer": who.peer,
        "nonce": bytes(8),
        "kind": INLINE,
        "value": b"value",
        "size": 5,
        "copies": 3,
        "ttl_s": None,
    }
    return make_record(who, RecordBody(**{**fields, **changes}))


ONE, OTHER = record(), record(value=b"other")


def promise(who: Identity = MALLORY, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "format": 2,
        "kind": OF_RECORD,
        "holder": who.peer,
        "store": RUN,
        "key": ONE.key,
        "digest": ONE.version.digest,
        "sequence": 1,
        "life_s": LIFE_S,
        "stamp": STAMP,
    }
    return receipts.sign(who, Receipt(**{**fields, **changes}))


def word(said: int, who: Identity = MALLORY, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "format": 1,
        "kind": OF_RECORD,
        "holder": who.peer,
        "store": RUN,
        "key": ONE.key,
        "digest": ONE.version.digest,
        "nonce": NONCE,
        "stamp": STAMP + 1,
        "said": said,
        "proof": proof_of(NONCE, body_bytes(ONE.raw)) if said == HAS else b"",
    }
    return attestations.sign(who, Attestation(**{**fields, **changes}))


GUILTY = {
    EQUIVOCATION: (pack_evidence(EQUIVOCATION, ALICE.peer, ONE.raw, OTHER.raw), ALICE),
    BROKEN_PROMISE: (pack_evidence(BROKEN_PROMISE, MALLORY.peer, promise(), word(HAS_NOT)), MALLORY),
    FALSE_PROOF: (pack_evidence(FALSE_PROOF, MALLORY.peer, word(HAS, proof=bytes(16)), ONE.raw), MALLORY),
}


def refusal(raw: bytes, who: Identity = BOB) -> str:
    """Why evidence convicts nobody."""
    with pytest.raises(WireError) as caught:
        convicts(raw, who.network, Verifier(who))
    return caught.value.reason


@pytest.mark.parametrize("kind", GUILTY, ids=KIND_NAMES.get)
def test_who_contradicts_itself_is_convicted_by_anybody(kind: int) -> None:
    raw, liar = GUILTY[kind]
    for judge in (ALICE, BOB, MALLORY):
        assert convicts(raw, OPEN, Verifier(judge)) == liar.peer


HONEST: dict[str, tuple[int, bytes, bytes]] = {
    # What crashes, lost disks, backups, hand-overs, deletes and expiry leave behind of honest holders.
    "it has what it promised": (BROKEN_PROMISE, promise(), word(HAS)),
    "restarted, and lost it": (BROKEN_PROMISE, promise(), word(HAS_NOT, store=NEXT_RUN)),
    "restored from a backup, the clock set back": (BROKEN_PROMISE, promise(store=NEXT_RUN), word(HAS_NOT)),
    "denied before it was stored": (BROKEN_PROMISE, promise(), word(HAS_NOT, stamp=STAMP - 1)),
    "denied at the very stamp": (BROKEN_PROMISE, promise(), word(HAS_NOT, stamp=STAMP)),
    "the promise had ended": (BROKEN_PROMISE, promise(), word(HAS_NOT, stamp=STAMP + LIFE_S * 1000)),
    "replaced by a newer version": (BROKEN_PROMISE, promise(), word(NEWER)),
    "deleted, or its life was over": (BROKEN_PROMISE, promise(), word(OVER)),
    "damaged, returning or let go": (BROKEN_PROMISE, promise(), word(UNKNOWN)),
    "another version was never here": (BROKEN_PROMISE, promise(), word(HAS_NOT, digest=OTHER.version.digest)),
    "another key was never here": (BROKEN_PROMISE, promise(), word(HAS_NOT, key=seed("key"))),
    "content of the same digest was": (BROKEN_PROMISE, promise(kind=OF_CONTENT), word(HAS_NOT)),
    "a record of the same digest was": (BROKEN_PROMISE, promise(), word(HAS_NOT, kind=OF_CONTENT)),
    "somebody else denied it": (BROKEN_PROMISE, promise(), word(HAS_NOT, BOB)),
    "its proof is right": (FALSE_PROOF, word(HAS), ONE.raw),
    "its proof is over another version": (FALSE_PROOF, word(HAS), OTHER.raw),
    "its proof is over another key": (FALSE_PROOF, word(HAS, key=seed("key"), proof=bytes(16)), ONE.raw),
    "its proof is of content": (FALSE_PROOF, word(HAS, kind=OF_CONTENT, proof=bytes(16)), ONE.raw),
    "it denied, which needs no proof": (FALSE_PROOF, word(HAS_NOT), ONE.raw),
    "the same record twice": (EQUIVOCATION, ONE.raw, ONE.raw),
    "two versions": (EQUIVOCATION, ONE.raw, record(sequence=2, value=b"2").raw),
    "one sequence twice after a backup was put back": (EQUIVOCATION, ONE.raw, record(nonce=b"\x01" * 8).raw),
    "two names": (EQUIVOCATION, ONE.raw, record(name="b", key=name_key(OPEN, "b")).raw),
    "two writers": (EQUIVOCATION, ONE.raw, record(BOB).raw),
}


@pytest.mark.parametrize("history", HONEST)
def test_an_honest_history_convicts_nobody(history: str) -> None:
    kind, first, second = HONEST[history]
    for accused in (ALICE, BOB, MALLORY):
        for packed in (
            pack_evidence(kind, accused.peer, first, second),
            encode(Evidence(1, kind, accused.peer, first, second)),
            encode(Evidence(1, kind, accused.peer, second, first)),
        ):
            refusal(packed)


def test_who_has_two_good_signatures_of_one_body_is_not_blamed_for_either() -> None:
    """A writer may sign a body again: what is proven is the body alone, which the digest names."""
    again = ONE.raw[:-1] + bytes([ONE.raw[-1] ^ 1])
    assert proof_of(NONCE, body_bytes(again)) == proof_of(NONCE, body_bytes(ONE.raw))


@pytest.mark.parametrize("kind", GUILTY, ids=KIND_NAMES.get)
def test_every_altered_bit_cut_and_addition_convicts_nobody(kind: int) -> None:
    raw, _ = GUILTY[kind]
    for at in range(len(raw)):
        for bit in range(8):
            refusal(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :])
        refusal(raw[:at])
    refusal(raw + b"\x00")


@pytest.mark.parametrize("kind", GUILTY, ids=KIND_NAMES.get)
def test_evidence_of_another_network_convicts_nobody(kind: int) -> None:
    raw, _ = GUILTY[kind]
    judge = identity("bob", PRIVATE)
    with pytest.raises(WireError):
        convicts(raw, judge.network, Verifier(judge))


def test_who_is_framed_with_what_another_signed_is_not_convicted() -> None:
    for kind, (raw, liar) in GUILTY.items():
        said = encode([1, kind, BOB.peer, *_parts(raw)])
        assert liar is not BOB
        assert refusal(said) == "evidence_accused"


def test_evidence_framed_as_another_kind_or_the_other_way_round_convicts_nobody() -> None:
    for kind, (raw, liar) in GUILTY.items():
        first, second = _parts(raw)
        for other in KIND_NAMES:
            if other != kind:
                refusal(encode([1, other, liar.peer, first, second]))
        refusal(encode([1, kind, liar.peer, second, first]))


def test_a_promise_of_the_form_before_convicts_nobody() -> None:
    """It named a store and not a run of it: who came back from a crash would be convicted."""
    old = [1, OF_RECORD, MALLORY.peer, RUN, ONE.key, ONE.version.digest, 1, LIFE_S]
    raw = encode(old)
    signed = raw + MALLORY.sign(b"peerd/1 receipt\x00", raw)
    assert refusal(pack_evidence(BROKEN_PROMISE, MALLORY.peer, signed, word(HAS_NOT))) == "malformed"


def test_mallory_cannot_sign_for_bob() -> None:
    body = receipts.read(promise(BOB))
    raw = encode(body)
    forged = raw + MALLORY.sign(b"peerd/1 receipt\x00", raw)
    assert refusal(pack_evidence(BROKEN_PROMISE, BOB.peer, forged, word(HAS_NOT, BOB))) == "signature"


def test_evidence_longer_than_its_bound_is_not_read() -> None:
    assert refusal(bytes(2305)) == "evidence_size"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_convict_nobody(raw: bytes) -> None:
    refusal(raw)


def _parts(raw: bytes) -> tuple[bytes, bytes]:
    from peerd.records.evidence import read_evidence

    said = read_evidence(raw)
    return said.first, said.second

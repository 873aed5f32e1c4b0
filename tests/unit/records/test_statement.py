"""A statement counts as its signer made it, for its network and its kind; and the cache of good ones stays small."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.identity import SIGNATURE_BYTES, Identity
from peerd.ids import PeerId
from peerd.records import statement
from peerd.records.attestation import HAS, HAS_NOT, Attestation, attestations
from peerd.records.claim import Claim, claims
from peerd.records.notice import LeaveNotice, leave_notices
from peerd.records.provider import REPLICA, Provider, providers
from peerd.records.receipt import OF_RECORD, Receipt, receipts
from peerd.records.statement import Statements, Verifier
from peerd.wire import limits
from peerd.wire.codec import encode
from tests.vectors.cast import PRIVATE, identity, seed

ALICE, BOB, MALLORY = identity("alice"), identity("bob"), identity("mallory")
CID = b"\x01\x55\x12\x20" + seed("content")

KINDS: dict[str, tuple[Statements[Any], Any]] = {
    "receipt": (receipts, Receipt(2, OF_RECORD, ALICE.peer, bytes(16), seed("key"), seed("digest"), 7, 60, 1)),
    "attestation": (
        attestations,
        Attestation(
            1, OF_RECORD, ALICE.peer, bytes(16), seed("key"), seed("digest"), bytes(16), 1, HAS, b"proof of 16 byte"
        ),
    ),
    "provider": (providers, Provider(1, CID, ALICE.peer, REPLICA, 1, 60)),
    "claim": (claims, Claim(1, CID, ALICE.peer, bytes(32), 7, 3, "name")),
    "notice": (leave_notices, LeaveNotice(1, ALICE.peer, 1)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Statements[Any], Any]:
    return KINDS[request.param]


def refusal(statements: Statements[Any], raw: bytes, who: Identity = BOB) -> str:
    with pytest.raises(WireError) as caught:
        statements.verify(raw, Verifier(who))
    return caught.value.reason


def test_bob_believes_what_alice_signed(kind: tuple[Statements[Any], Any]) -> None:
    statements, body = kind
    raw = statements.sign(ALICE, body)
    assert statements.verify(raw, Verifier(BOB)) == statements.read(raw) == body


def test_every_altered_byte_is_refused(kind: tuple[Statements[Any], Any]) -> None:
    statements, body = kind
    raw = statements.sign(ALICE, body)
    for at in range(len(raw)):
        for bit in (1, 0x80):
            refusal(statements, raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :])


def test_every_cut_and_every_addition_is_refused(kind: tuple[Statements[Any], Any]) -> None:
    statements, body = kind
    raw = statements.sign(ALICE, body)
    for altered in (
        [raw[:end] for end in range(len(raw))]
        + [raw[at:] for at in range(1, len(raw))]
        + [raw + b"\x00", b"\x00" + raw]
    ):
        refusal(statements, altered)


def test_another_networks_statement_does_not_count(kind: tuple[Statements[Any], Any]) -> None:
    statements, body = kind
    assert refusal(statements, statements.sign(identity("alice", PRIVATE), body)) == "signature"


def test_mallory_cannot_sign_for_alice(kind: tuple[Statements[Any], Any]) -> None:
    statements, body = kind
    raw = encode(body)
    assert refusal(statements, raw + MALLORY.sign(statements._tag, raw)) == "signature"


def test_a_signature_of_one_kind_does_not_count_as_another() -> None:
    for name, (statements, body) in KINDS.items():
        raw = encode(body)
        for other, (foreign, _) in KINDS.items():
            if other != name:
                assert refusal(statements, raw + ALICE.sign(foreign._tag, raw)) == "signature"


def test_the_longest_of_each_kind_is_within_its_bound() -> None:
    longest = {
        "receipt": Receipt(
            2,
            2,
            ALICE.peer,
            bytes(16),
            bytes(32),
            bytes(32),
            limits.SEQUENCE_MAX,
            limits.RECEIPT_LIFE_MAX_S,
            limits.STAMP_MAX,
        ),
        "attestation": Attestation(
            1, 2, ALICE.peer, bytes(16), bytes(32), bytes(32), bytes(16), limits.STAMP_MAX, HAS, bytes(16)
        ),
        "provider": Provider(1, CID, ALICE.peer, 3, limits.STAMP_MAX, limits.PROVIDER_LIFE_MAX_S),
        "notice": LeaveNotice(1, ALICE.peer, limits.STAMP_MAX),
        "claim": Claim(1, CID, ALICE.peer, bytes(32), limits.SEQUENCE_MAX, limits.COPIES_MAX, "x" * 255),
    }
    for name, body in longest.items():
        statements = KINDS[name][0]
        assert statements.verify(statements.sign(ALICE, body), Verifier(BOB)) == body


def test_only_who_says_that_it_has_something_shows_a_proof() -> None:
    for said, proof in ((HAS, b""), (HAS_NOT, bytes(16)), (HAS, bytes(15))):
        body = Attestation(1, OF_RECORD, ALICE.peer, bytes(16), bytes(32), bytes(32), bytes(16), 1, said, proof)
        assert refusal(attestations, attestations.sign(ALICE, body)) == "attested_proof"


def test_a_providers_root_is_a_cid() -> None:
    for root in (bytes(36), b"\x01\x55\x1b\x20" + bytes(32), b"\x00" + CID[1:]):
        assert refusal(providers, providers.sign(ALICE, Provider(1, root, ALICE.peer, 1, 1, 60))) == "cid"


def test_a_claims_fields_fit_each_other() -> None:
    for key, sequence, name, reason in (
        (None, 1, "", "claim_version"),
        (bytes(32), 0, "", "claim_version"),
        (bytes(32), 1, "ä" * 128, "claim_name"),
    ):
        assert refusal(claims, claims.sign(ALICE, Claim(1, CID, ALICE.peer, key, sequence, 3, name))) == reason
    other = Claim(1, b"\x00" + CID[1:], ALICE.peer, None, 0, 3, "")
    assert refusal(claims, claims.sign(ALICE, other)) == "cid"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([statements for statements, _ in KINDS.values()]), st.binary(max_size=400))
def test_any_bytes_are_refused(statements: Statements[Any], raw: bytes) -> None:
    assert refusal(statements, raw) in {"statement_size", "malformed", "not_canonical", "signature", "cid"}


class _Counting:
    """An identity that counts the signatures it checks."""

    def __init__(self) -> None:
        self.count = 0

    def verify(self, peer: PeerId, tag: bytes, body: bytes, signature: bytes) -> bool:
        self.count += 1
        return BOB.verify(peer, tag, body, signature)


def test_a_statement_that_was_good_is_not_checked_again() -> None:
    counting = _Counting()
    verifier = Verifier(counting)  # type: ignore[arg-type]
    raw = leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, 1))
    for _ in range(3):
        leave_notices.verify(raw, verifier)
    assert counting.count == 1


def test_a_statement_that_was_bad_is_bad_again() -> None:
    verifier = Verifier(BOB)
    raw = leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, 1))
    forged = raw[:-1] + bytes([raw[-1] ^ 1])
    for _ in range(2):
        with pytest.raises(WireError, match="signature"):
            leave_notices.verify(forged, verifier)
    leave_notices.verify(raw, verifier)


def test_a_remembered_signature_is_its_signers_and_its_tags_alone() -> None:
    verifier = Verifier(BOB)
    raw = b"body" + ALICE.sign(b"peerd/1 one\x00", b"body")
    assert verifier.check(ALICE.peer, b"peerd/1 one\x00", raw)
    assert not verifier.check(MALLORY.peer, b"peerd/1 one\x00", raw)
    assert not verifier.check(ALICE.peer, b"peerd/1 two\x00", raw)
    assert verifier.check(ALICE.peer, b"peerd/1 one\x00", raw)


def test_the_remembered_ones_are_bounded_and_the_longest_unused_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "VERIFIED_MAX", 8)
    counting = _Counting()
    verifier = Verifier(counting)  # type: ignore[arg-type]
    raws = [leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, n)) for n in range(20)]
    for raw in raws:
        leave_notices.verify(raws[0], verifier)
        leave_notices.verify(raw, verifier)
    assert len(verifier._good) == 8
    assert counting.count == len(raws)  # the one in use was never forgotten
    counting.count = 0
    leave_notices.verify(raws[0], verifier)
    leave_notices.verify(raws[19], verifier)
    assert counting.count == 0
    leave_notices.verify(raws[1], verifier)
    assert counting.count == 1


def test_a_signature_is_64_bytes() -> None:
    assert (
        len(leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, 1))) - len(encode(LeaveNotice(1, ALICE.peer, 1)))
        == SIGNATURE_BYTES
    )

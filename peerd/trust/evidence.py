"""Whom evidence convicts: pure, the same for everybody, and of no use against who was honest.

A peer that crashed, lost its disk, came back from a backup, handed over or deleted has signed nothing that stands here:
- one version of a key has one content, since its nonce is random: two records of it were both made on purpose;
- a run of a store ends with the process; within one, what was promised is denied on purpose, whatever became of it: who
  has lost it says that it cannot tell, and the order is that of the holder's own stamps;
- a proof is over bytes that a digest names: it is right, or was made up.
"""

from peerd.errors import WireError
from peerd.ids import NetworkId, PeerId
from peerd.records.attestation import HAS, HAS_NOT, Attestation, attestations, proof_of
from peerd.records.evidence import BROKEN_PROMISE, EQUIVOCATION, FALSE_PROOF, RETRACTION, Evidence, read_evidence
from peerd.records.receipt import OF_RECORD, Receipt, receipts
from peerd.records.record import Record, body_bytes, verify_record
from peerd.records.statement import Verifier

_MS = 1000


def convicts(raw: bytes, network: NetworkId, verifier: Verifier) -> PeerId:
    """Return whom this evidence convicts.

    Raises WireError where it convicts nobody: what reading statements raises, `evidence` where they do not contradict
    each other, `evidence_accused` where they are somebody else's, `evidence_order` where they are framed otherwise.
    """
    said = read_evidence(raw)
    accused = _JUDGES[said.kind](said, network, verifier)
    if accused != said.accused:
        raise WireError("evidence_accused")
    return accused


def equivocates(one: Record, other: Record) -> bool:
    """Return whether a writer signed one version of a key with two contents."""
    return one.key == other.key and one.version[:3] == other.version[:3] and one.version.digest != other.version.digest


def breaks(promise: Receipt, said: Attestation) -> bool:
    """Return whether a holder denies what it had promised before, in the same run of its store."""
    return (
        said.said == HAS_NOT
        and (said.kind, said.holder, said.store) == (promise.kind, promise.holder, promise.store)
        and (said.key, said.digest) == (promise.key, promise.digest)
        and promise.stamp < said.stamp < promise.stamp + promise.life_s * _MS
    )


def retracts(before: Attestation, said: Attestation) -> bool:
    """Return whether a holder denies what it said that it had, in the same run of its store."""
    return (
        (before.said, said.said) == (HAS, HAS_NOT)
        and (said.kind, said.holder, said.store) == (before.kind, before.holder, before.store)
        and (said.key, said.digest) == (before.key, before.digest)
        and before.stamp < said.stamp
    )


def pretends(said: Attestation, record: Record) -> bool:
    """Return whether a holder says that it has this record, and its proof is none."""
    return (
        said.said == HAS
        and said.kind == OF_RECORD
        and (said.key, said.digest) == (record.key, record.version.digest)
        and said.proof != proof_of(said.nonce, body_bytes(record.raw))
    )


def _equivocation(said: Evidence, network: NetworkId, verifier: Verifier) -> PeerId:
    if said.second <= said.first:
        raise WireError("evidence_order")
    one, other = verify_record(said.first, network, verifier), verify_record(said.second, network, verifier)
    if not equivocates(one, other):
        raise WireError("evidence")
    return PeerId(one.body.writer)


def _broken_promise(said: Evidence, network: NetworkId, verifier: Verifier) -> PeerId:
    promise, denial = receipts.verify(said.first, verifier), attestations.verify(said.second, verifier)
    if not breaks(promise, denial):
        raise WireError("evidence")
    return PeerId(promise.holder)


def _false_proof(said: Evidence, network: NetworkId, verifier: Verifier) -> PeerId:
    shown, record = attestations.verify(said.first, verifier), verify_record(said.second, network, verifier)
    if not pretends(shown, record):
        raise WireError("evidence")
    return PeerId(shown.holder)


def _retraction(said: Evidence, network: NetworkId, verifier: Verifier) -> PeerId:
    before, denial = attestations.verify(said.first, verifier), attestations.verify(said.second, verifier)
    if not retracts(before, denial):
        raise WireError("evidence")
    return PeerId(denial.holder)


_JUDGES = {
    EQUIVOCATION: _equivocation,
    BROKEN_PROMISE: _broken_promise,
    FALSE_PROOF: _false_proof,
    RETRACTION: _retraction,
}

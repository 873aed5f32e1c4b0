"""Liars that promise: they acknowledge what they then drop, and say this or that when they are asked for it."""

from collections.abc import Sequence

from peerd.ids import Key, PeerId
from peerd.node.promising import Promises
from peerd.records.attestation import HAS, HAS_NOT, NEWER, OVER, UNKNOWN
from peerd.records.record import read_record
from peerd.wire import frames
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.messages import Attest, Attested, Prove, Proven, Refused, Request, Store
from tests.hostile.base import Answer, Honest, HonestBytes, Liar, replied


class Drops(Liar):
    """Acknowledges every record and drops it at once; asked for it, it says (`said`) that it never had it."""

    name = "drops"
    said = HAS_NOT
    proof = b""

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        match request:
            case Store():
                return self._drop(request, honest)
            case Prove():
                return Proven(request.rid, self._proofs(len(request.split())))
            case Attest():
                return self._attest(request)
        return honest()

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.PROVE:
            return self._proofs(len(frames.split_prove(payload)[1]))
        return await honest()

    def _proofs(self, count: int) -> bytes:
        return bytes(PROOF_BYTES * count)

    async def _drop(self, request: Store, honest: Honest) -> Answer:
        answer = honest()
        assert answer is not None
        reply = await replied(answer)
        await self.core.store.drop_record(Key(read_record(request.record).key))
        return reply

    async def _attest(self, request: Attest) -> Answer:
        environment = self.core.environment
        forgetful = Promises(self.core.identity, self.core.store, environment.entropy, environment.clock)
        forgetful.run = self.core.promises.run
        raw = await forgetful.attest(
            request.kind, request.key, request.digest, nonce=request.nonce, said=self.said, proof=self.proof
        )
        return Attested(request.rid, raw)


class MakesUpProofs(Drops):
    """Drops, and says that it has it, over a proof that it made up."""

    name = "makes up proofs"
    said = HAS
    proof = bytes(PROOF_BYTES)

    def _proofs(self, count: int) -> bytes:
        return self.rng.randbytes(PROOF_BYTES * count)


class SaysNewer(Drops):
    """Drops, and says that something newer took its place."""

    name = "says newer"
    said = NEWER


class SaysOver(Drops):
    """Drops, and says that it is over."""

    name = "says over"
    said = OVER


class CannotTell(Drops):
    """Drops, and cannot tell."""

    name = "cannot tell"
    said = UNKNOWN


class SaysNothing(Drops):
    """Drops, and refuses to sign anything."""

    name = "says nothing"

    async def _attest(self, request: Attest) -> Answer:
        return Refused(request.rid, "store")


SIGNS: Sequence[type[Liar]] = (Drops, MakesUpProofs)
"""Those that convict themselves."""

EVADES: Sequence[type[Liar]] = (SaysNewer, SaysOver, CannotTell, SaysNothing)
"""Those that are found out, and of whom nothing is proven to others."""

WAYS: Sequence[type[Liar]] = (*SIGNS, *EVADES)
"""All ways to promise and not to keep."""

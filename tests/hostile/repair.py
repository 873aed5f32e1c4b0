"""Liars where copies are counted: they say that they have what they have not, and that all is the same."""

from collections.abc import Sequence

from peerd.ids import PeerId
from peerd.wire import frames
from peerd.wire.fields import PROOF_BYTES
from peerd.wire.messages import Agree, Done, Prove, Proven, Request
from tests.hostile.base import Answer, Honest, HonestBytes, Liar


class ClaimsAll(Liar):
    """Says of each root that it keeps it, and of each version that it has it."""

    name = "claims all"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        match request:
            case Prove():
                return Proven(request.rid, self.rng.randbytes(PROOF_BYTES * len(request.split())))
            case Agree():
                return Done(request.rid)
        return honest()

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.ROOTS:
            return bytes([frames.PROMISED]) * len(frames.split_cids(payload))
        answer: bytes = await honest()
        return answer


class ClaimsNothing(Liar):
    """Says of each root and version that it has it not, so that others restore without end."""

    name = "claims nothing"

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        match request:
            case Prove():
                return Proven(request.rid, bytes(PROOF_BYTES * len(request.split())))
        return honest()

    async def tell(self, peer: PeerId, kind: int, payload: bytes, honest: HonestBytes) -> bytes:
        if kind == frames.ROOTS:
            return bytes([frames.ABSENT]) * len(frames.split_cids(payload))
        answer: bytes = await honest()
        return answer


WAYS: Sequence[type[Liar]] = (ClaimsAll, ClaimsNothing)
"""All ways to lie where copies are counted."""

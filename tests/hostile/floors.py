"""Liars about what is newest: they sign versions that nobody can follow, and bring back what was deleted."""

from collections.abc import Awaitable, Sequence

from msgspec.structs import replace

from peerd.ids import PeerId
from peerd.records.record import INLINE, NONCE_BYTES, Record, RecordBody, make_record, read_record
from peerd.wire.limits import SEQUENCE_JUMP_MAX, SEQUENCE_MAX
from peerd.wire.messages import FindValue, Reply, Request, Store, Value
from tests.hostile.base import Answer, Honest, Liar, replied

REMEMBERED_MAX = 4096


class Jumps(Liar):
    """Shows a version of its own with the last number there is, in place of each value."""

    name = "jumps"
    sequence = SEQUENCE_MAX

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        answer = honest()
        if isinstance(request, FindValue) and answer is not None and self.clan.wants(request.key):
            return self._lie(answer)
        return answer

    async def _lie(self, answer: Reply | Awaitable[Reply]) -> Reply:
        reply = await replied(answer)
        if not isinstance(reply, Value) or not reply.record:
            return reply
        return replace(reply, record=self._signed(read_record(reply.record)).raw, left_s=None)

    def _signed(self, known: Record) -> Record:
        body = RecordBody(
            format=known.body.format,
            key=known.key,
            name=known.body.name,
            owner=None,
            sequence=self.sequence,
            writer=self.core.peer,
            nonce=bytes(NONCE_BYTES),
            kind=INLINE,
            value=b"frozen",
            size=6,
            copies=known.body.copies,
            ttl_s=None,
        )
        return make_record(self.core.identity, body)


class JumpsALittle(Jumps):
    """Shows one that is just too far above what the others have."""

    name = "jumps a little"
    sequence = SEQUENCE_JUMP_MAX + 1000


class Resurrects(Liar):
    """Goes on sending the last value of each key that was deleted."""

    name = "resurrects"

    def begin(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def heard(self, peer: PeerId, request: Request) -> None:
        if isinstance(request, Store) and len(self.values) < REMEMBERED_MAX:
            record = read_record(request.record)
            if not record.deleted:
                self.values[record.key] = request.record

    def answer(self, peer: PeerId, request: Request, honest: Honest) -> Answer:
        if isinstance(request, FindValue) and request.key in self.values:
            return Value(request.rid, self.values[request.key], None, b"")
        return honest()


WAYS: Sequence[type[Liar]] = (Jumps, JumpsALittle, Resurrects)
"""All ways to lie about what is newest."""

"""The messages by which the holders of a strong key agree (trust.register; PROTOCOL.md, "Registers")."""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.wire import limits
from peerd.wire.fields import (
    Answering,
    BallotCounter,
    Bytes32,
    Epoch,
    Origin,
    Past,
    PeerIds,
    RecordBytes,
    RequestId,
    StrongRecordBytes,
)


class Prepare(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=24):
    """Promise to take nothing older than the sender's ballot `counter`, and show what you accepted; 0 only asks.

    `holders` are the peers that the sender expects to hold the key: who has no state promises only where they fit what
    it knows.
    """

    rid: RequestId
    key: Bytes32
    counter: BallotCounter
    holders: PeerIds


class Accept(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=25):
    """Accept this state of the register of the record's key, proposed by the sender with the ballot `counter`."""

    rid: RequestId
    counter: BallotCounter
    record: StrongRecordBytes
    origin: Origin
    epoch: Epoch
    holders: PeerIds
    previous: PeerIds
    past: Past


class Promise(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=88):
    """What this peer knows of a register: promised (`ok`) or not, the highest counter promised, the state accepted.

    Without a state: `epoch` is 0, and where `ok`, `record` is the plain record here and `beneath` the sequence of the
    floor here, below which no version may be; where not `ok`, `holders` are those that this peer expects.
    """

    rid: RequestId
    ok: bool
    counter: BallotCounter
    accepted_counter: BallotCounter
    accepted_peer: Annotated[bytes, Meta(max_length=32)]
    record: RecordBytes
    origin: Origin
    epoch: Epoch
    holders: PeerIds
    previous: PeerIds
    past: Past
    beneath: Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]


class Accepted(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=89):
    """The state is on this peer's disk."""

    rid: RequestId

"""The control messages: requests and their replies, as they travel inside a sealed datagram (PROTOCOL.md, "Messages").

Each is an array: the tag, the request id, the fields in the order given here. Replies have tags of 64 and more.
Contacts are packed (kad.contact); records, provider records and receipts are signed bytes that travel as they are.
"""

from typing import Annotated

from msgspec import Meta, Struct

from peerd.errors import WireError
from peerd.ids import ID_BYTES, Key
from peerd.wire import limits
from peerd.wire.agreeing import Accept, Accepted, Prepare, Promise
from peerd.wire.caching import AgeSeconds, KeepCached, KeepSeconds, Place
from peerd.wire.codec import Codec, encode
from peerd.wire.entries import EntryFound, FindEntry, KeepEntry
from peerd.wire.fields import (
    PROOF_BYTES,
    PROVEN_BYTES,
    Answering,
    AttestationBytes,
    AuditNonce,
    Bytes32,
    Cid36,
    FloorBytes,
    LeftSeconds,
    News,
    NoticeBytes,
    PackedContacts,
    PackedFloors,
    PingPadding,
    Places,
    ProviderBytes,
    ReceiptBytes,
    RecordBytes,
    RefusalCode,
    RequestId,
    VouchNonce,
    VouchPadding,
)
from peerd.wire.following import Changed, Follow, Following


class Ping(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=1):
    """Are you there. Padded with zeros where it has no news, so that a challenge to it is not longer."""

    rid: RequestId
    padding: PingPadding = bytes(limits.PING_PADDING_BYTES)
    news: News = ()


class FindNode(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=2):
    """Who is nearest to `target`."""

    rid: RequestId
    target: Bytes32


class FindValue(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=3):
    """The record under `key`; who is nearest to it, where there is none and that is asked for (`near`).

    `cached`: one that is only cached will do, and the asker would keep what it gets so.
    """

    rid: RequestId
    key: Bytes32
    near: bool = True
    cached: bool = False


class FindProviders(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=4):
    """Who has the content whose root has the digest `key`, and who is nearest to it."""

    rid: RequestId
    key: Bytes32


class Store(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=5):
    """Keep this record; `left_s` are the seconds of life it has left, None where it does not expire."""

    rid: RequestId
    record: RecordBytes
    left_s: LeftSeconds | None = None


class AddProvider(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=6):
    """Remember that the signer has this content."""

    rid: RequestId
    provider: ProviderBytes


class Members(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=7):
    """A page of the members you have proven, in order of place, after `after`.

    `have` are the first 4 bytes of the places beyond `after` of those that the asker knows to live, in their order:
    they are left out.
    """

    rid: RequestId
    after: Bytes32
    have: Places = b""


class Leave(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=8):
    """The signer says goodbye: a signed notice, so that it can be passed on."""

    rid: RequestId
    notice: NoticeBytes


class Release(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=9):
    """A claim on content ended.

    `record` is the newer version or tombstone of the name that claimed `cid`, or empty where the sender withdraws what
    it added itself.
    """

    rid: RequestId
    cid: Cid36
    record: RecordBytes


class Prove(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=40):
    """Show that you have these versions: for each 32 bytes of key and 32 of the record's digest.

    What shows it is a hash of the record keyed by `nonce`, which the asker made for this question alone.
    """

    rid: RequestId
    nonce: AuditNonce
    versions: Annotated[bytes, Meta(min_length=PROVEN_BYTES, max_length=limits.PROVEN_MAX * PROVEN_BYTES)]

    def split(self) -> list[tuple[Key, bytes]]:
        """Return (key, digest) of each; raises WireError where the length is none of theirs."""
        raw = self.versions
        if len(raw) % PROVEN_BYTES:
            raise WireError("prove")
        return [
            (Key(raw[at : at + ID_BYTES]), raw[at + ID_BYTES : at + PROVEN_BYTES])
            for at in range(0, len(raw), PROVEN_BYTES)
        ]


class Attest(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=41):
    """Say, signed, what you have of this version (`kind` 1) or content (2), over a nonce made for this question."""

    rid: RequestId
    kind: Annotated[int, Meta(ge=1, le=2)]
    key: Bytes32
    digest: Bytes32
    nonce: AuditNonce


class Agree(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=33):
    """Do you know of the keys in these ranges what I do: `Done`, or `Refused` where not.

    `scope` are bounds, lower and upper in turn, each a byte of length and so many; `fingerprint` is that of them all.
    """

    rid: RequestId
    scope: Annotated[bytes, Meta(max_length=limits.SCOPE_MAX_BYTES)]
    fingerprint: Annotated[bytes, Meta(min_length=16, max_length=16)]


class FindFloors(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=20):
    """What do you know of these versions: packed floors (records.floor), whose seconds left mean nothing here."""

    rid: RequestId
    floors: PackedFloors


class KeepFloors(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=21):
    """These versions are over and their tombstones gone: look into it, and keep their floors."""

    rid: RequestId
    floors: PackedFloors


class Relay(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=16):
    """Does `target` answer you? Have it sign `nonce`, which the asker chose."""

    rid: RequestId
    target: Bytes32
    nonce: VouchNonce


class Vouch(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=17):
    """Sign that you live, over this nonce. Padded with zeros, so that a challenge to it is not longer."""

    rid: RequestId
    nonce: VouchNonce
    padding: VouchPadding = bytes(limits.VOUCH_PADDING_BYTES)


class Tell(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=18):
    """News that cannot wait for the next ping."""

    rid: RequestId
    news: News


class Pong(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=64):
    """I am here.

    `members` is the XOR of the first 8 bytes of the places of all members that the sender knows to be alive, its own
    included: equal where two peers know the same members.
    """

    rid: RequestId
    members: Annotated[bytes, Meta(min_length=8, max_length=8)]
    news: News = ()


class Nodes(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=65):
    """Contacts, nearest first (or in order of place, to Members; then an empty page is the end)."""

    rid: RequestId
    contacts: PackedContacts


class Value(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=66):
    """The record with the seconds of life it has left, or empty and, where they were asked for, nearest contacts.

    `floor` is the version (48 bytes: sequence, writer, nonce) at or below which nothing is to come back, or empty.
    For `keep_s` the asker may answer from the record, and is told of a newer one meanwhile. `age_s` is of a record that
    is only cached: the seconds since a holder gave it; None of a holder's own.
    """

    rid: RequestId
    record: RecordBytes
    left_s: LeftSeconds | None
    contacts: PackedContacts
    floor: FloorBytes = b""
    keep_s: KeepSeconds = 0
    age_s: AgeSeconds | None = None


class Providers(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=67):
    """Provider records, the contacts of those providers that we have proven, and the nearest contacts."""

    rid: RequestId
    providers: Annotated[list[ProviderBytes], Meta(max_length=limits.PROVIDERS_PER_ANSWER_MAX)]
    contacts: PackedContacts


class Stored(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=68):
    """It is on our disk: a signed receipt."""

    rid: RequestId
    receipt: ReceiptBytes


class Newer(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=69):
    """Not stored: we have this newer version."""

    rid: RequestId
    record: RecordBytes


class Proven(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=104):
    """16 bytes for each version asked about, in order: the proof, zeros where another version or none is here."""

    rid: RequestId
    proofs: Annotated[bytes, Meta(min_length=PROOF_BYTES, max_length=limits.PROVEN_MAX * PROOF_BYTES)]


class Attested(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=105):
    """A signed attestation."""

    rid: RequestId
    statement: AttestationBytes


class Floors(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=84):
    """A byte for each version asked about, in order: 0 nothing known of the key, 1 older, 2 it or newer, 3 over."""

    rid: RequestId
    known: Annotated[bytes, Meta(min_length=1, max_length=limits.FLOORS_MAX)]


class Done(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=70):
    """Understood and done."""

    rid: RequestId


class Vouched(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=80):
    """A signed statement of life over the nonce, or the target's leave notice; empty where it does not answer."""

    rid: RequestId
    statement: NoticeBytes


class Refused(Answering, array_like=True, frozen=True, forbid_unknown_fields=True, tag=127):
    """We will not; `code` is one of the constants in PROTOCOL.md."""

    rid: RequestId
    code: RefusalCode


Request = (
    Ping
    | FindNode
    | FindValue
    | FindProviders
    | Store
    | AddProvider
    | Members
    | Leave
    | Release
    | Relay
    | Vouch
    | Tell
    | Prepare
    | Accept
    | Prove
    | Attest
    | FindFloors
    | KeepFloors
    | Agree
    | KeepCached
    | Place
    | FindEntry
    | KeepEntry
    | Follow
    | Changed
)
Reply = (
    Pong
    | Nodes
    | Value
    | Providers
    | Stored
    | Newer
    | Done
    | Vouched
    | Promise
    | Accepted
    | Proven
    | Attested
    | Floors
    | EntryFound
    | Following
    | Refused
)

_codec: Codec[Request | Reply] = Codec(Request | Reply)


decode = _codec.decode
"""Return the message; raises WireError."""

__all__ = [
    "Accept",
    "Accepted",
    "AddProvider",
    "Agree",
    "Answering",
    "Attest",
    "Attested",
    "Changed",
    "Done",
    "EntryFound",
    "FindEntry",
    "FindFloors",
    "FindNode",
    "FindProviders",
    "FindValue",
    "Floors",
    "Follow",
    "Following",
    "KeepCached",
    "KeepEntry",
    "KeepFloors",
    "Leave",
    "Members",
    "Newer",
    "Nodes",
    "Ping",
    "Place",
    "Pong",
    "Prepare",
    "Promise",
    "Prove",
    "Proven",
    "Providers",
    "Refused",
    "Relay",
    "Release",
    "Reply",
    "Request",
    "Store",
    "Stored",
    "Tell",
    "Value",
    "Vouch",
    "Vouched",
    "decode",
    "encode",
]

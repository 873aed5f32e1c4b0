"""Writes the vectors of the protocol: `python -m tests.vectors.make`. What each file holds is told in README.md.

Deterministic: a test makes them again and compares. Bytes are hex.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from peerd.identity import SIGNATURE_BYTES, Identity
from peerd.ids import Key, name_key, network_digest, network_id, node_id, peer_id_text
from peerd.io.tls import certificate_of
from peerd.kad.contact import Contact, pack_contacts
from peerd.records.alias import Alias, aliases
from peerd.records.attestation import HAS, HAS_NOT, Attestation, attestations, proof_of
from peerd.records.claim import Claim, claims
from peerd.records.entry import CONTENT as ENTRY_CONTENT
from peerd.records.entry import GONE as ENTRY_GONE
from peerd.records.entry import INLINE as ENTRY_INLINE
from peerd.records.entry import Entry, entries
from peerd.records.evidence import BROKEN_PROMISE, EQUIVOCATION, FALSE_PROOF, digest_of, pack_evidence, read_evidence
from peerd.records.floor import PackedFloor, pack_floors, pack_version
from peerd.records.life import Forgotten, Life, forgotten_notices, lives
from peerd.records.notice import LeaveNotice, leave_notices
from peerd.records.provider import CACHE, GONE, REPLICA, Provider, providers
from peerd.records.receipt import OF_CONTENT, OF_RECORD, Receipt, receipts
from peerd.records.record import DIRECTORY, FILE, INLINE, TOMBSTONE, Record, RecordBody, body_bytes, make_record
from peerd.records.revocation import STOLEN, Revocation, revocations
from peerd.swarm.itemset import ItemSet
from peerd.swarm.ranges import answer
from peerd.wire import envelope, frames, messages, reconcile
from peerd.wire.codec import encode
from peerd.wire.fields import CID_DAG_PB
from peerd.wire.handshake import Initiator, Responder, mac_key
from tests.vectors.cast import (
    ALICE_ADDRESS,
    BOB_ADDRESS,
    CAROL_ADDRESS,
    NETWORK_NAME,
    NETWORK_SECRET,
    NOW,
    OPEN,
    PRIVATE,
    Script,
    identity,
    seed,
)
from tests.vectors.rejected import rejected

FOLDER = Path(__file__).parent

ALICE, BOB, CAROL = identity("alice"), identity("bob"), identity("carol")
NAME = "größer/⛵"
CONTENT = b"\x01\x55\x12\x20" + hashlib.sha256(b"content").digest()
FOLDER_CID = b"\x01\x70\x12\x20" + hashlib.sha256(b"directory").digest()
NONCE = bytes(range(8))
AUDIT_NONCE = bytes(range(16))
STAMP = 1_767_225_600_000


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes as hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def ids() -> dict[str, Any]:
    """Peers, places, keys, networks."""
    networks = [(NETWORK_NAME, None), (NETWORK_NAME, NETWORK_SECRET), ("default", None), ("größer", b"\x00")]
    names = [("a", None), (NAME, None), ("a", ALICE.peer), ("x" * 255, None)]
    return {
        "peers": [
            {"seed": seed(name), "peer": identity(name).peer, "text": peer_id_text(identity(name).peer)}
            for name in ("alice", "bob", "carol", "mallory")
        ],
        "networks": [
            {
                "name": name,
                "secret": secret,
                "network": network_id(name, secret),
                "digest": network_digest(network_id(name, secret)),
                "mac_key": mac_key(network_id(name, secret)),
            }
            for name, secret in networks
        ],
        "places": [
            {"network": network, "peer": who.peer, "place": node_id(network, who.peer)}
            for network in (OPEN, PRIVATE)
            for who in (ALICE, BOB)
        ],
        "names": [
            {"network": OPEN, "name": name, "owner": owner, "key": name_key(OPEN, name, owner)} for name, owner in names
        ],
    }


def handshake() -> dict[str, Any]:
    """Alice, who knows bob's address and id, shakes hands with him and asks two things; then he has forgotten her."""
    alice, bob = identity("alice", PRIVATE), identity("bob", PRIVATE)
    inputs = {
        "network_name": NETWORK_NAME,
        "network_secret": NETWORK_SECRET,
        "network": PRIVATE,
        "alice_seed": seed("alice"),
        "alice_peer": alice.peer,
        "alice_ephemeral_private": seed("alice ephemeral"),
        "alice_session_random": seed("alice session")[:5],
        "bob_seed": seed("bob"),
        "bob_peer": bob.peer,
        "bob_ephemeral_private": seed("bob ephemeral"),
        "bob_session_random": seed("bob session")[:5],
        "bob_cookie_secret": seed("bob cookie"),
        "bob_clock_s": int(NOW),
        "alice_address": list(ALICE_ADDRESS),
    }
    initiator = Initiator(
        alice, Script(inputs["alice_ephemeral_private"], inputs["alice_session_random"]), expected=bob.peer
    )
    entropy = Script(inputs["bob_cookie_secret"], inputs["bob_ephemeral_private"], inputs["bob_session_random"])
    responder = Responder(bob, entropy)
    hello = initiator.hello_bytes()
    _, challenge = responder.on_hello(hello, ALICE_ADDRESS, NOW)
    finish = initiator.on_challenge(envelope.parse_challenge(challenge))
    first = encode(messages.Pong(0, b"\x11" * 8))
    at_bob, accept = responder.on_finish(finish, ALICE_ADDRESS, NOW + 0.1, first=first)
    at_alice = initiator.on_accept(envelope.parse_accept(accept))
    record = inline_record(alice)
    talk = [
        ("alice", encode(messages.Ping(1))),
        ("bob", encode(messages.Pong(1, b"\x11" * 8))),
        ("alice", encode(messages.FindValue(2, record.key))),
        ("bob", encode(messages.Value(2, record.raw, None, b""))),
    ]
    sealed = []
    for who, plaintext in talk:
        sender = at_alice.session if who == "alice" else at_bob.session
        sealed.append({"from": who, "plaintext": plaintext, "datagram": sender.seal(plaintext)})
    return {
        "inputs": inputs,
        "hello": hello,
        "challenge": challenge,
        "finish": finish,
        "accept": accept,
        "first": first,
        "sealed": sealed,
        "derived": _derived(finish, accept, inputs),
        "forgotten": {
            "sealed": sealed[0]["datagram"],
            "challenge": responder.challenge(at_bob.session.local_id, ALICE_ADDRESS, NOW),
        },
    }


def _derived(finish: bytes, accept: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    """What both compute on the way, step by step and apart from the code (PROTOCOL.md, "Session keys")."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    private = X25519PrivateKey.from_private_bytes(inputs["alice_ephemeral_private"])
    public = X25519PrivateKey.from_private_bytes(inputs["bob_ephemeral_private"]).public_key()
    shared = private.exchange(public)
    transcript = finish[:101] + accept[:85]
    salt = hashlib.sha256(PRIVATE + transcript).digest()
    keys = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"peerd/1 session keys\x00").derive(shared)
    return {
        "shared_secret": shared,
        "transcript": transcript,
        "salt": salt,
        "alice_to_bob_key": keys[:32],
        "bob_to_alice_key": keys[32:],
    }


def datagrams(shaken: dict[str, Any]) -> list[dict[str, Any]]:
    """Each kind of datagram with its fields; one finish and one accept with a certificate."""
    finish, _, finish_mac = envelope.parse_finish(shaken["finish"])
    accept = envelope.parse_accept(shaken["accept"])
    hello, _, hello_mac = envelope.parse_hello(shaken["hello"])
    challenge = envelope.parse_challenge(shaken["challenge"])
    certified = {"certificate": bytes(range(200)), "signature": b"\x22" * 64}
    long_finish = envelope.Finish(**{**_slots(finish), **certified})
    long_accept = envelope.Accept(**{**_slots(accept), **certified})
    sealed = shaken["sealed"][0]["datagram"]
    return [
        {"kind": "hello", "fields": {**_slots(hello), "mac": hello_mac}, "bytes": shaken["hello"]},
        {"kind": "challenge", "fields": _slots(challenge), "bytes": shaken["challenge"]},
        {"kind": "finish", "fields": {**_slots(finish), "mac": finish_mac}, "bytes": shaken["finish"]},
        {
            "kind": "finish",
            "fields": {**_slots(long_finish), "mac": bytes(16)},
            "bytes": long_finish.body() + bytes(16),
        },
        {"kind": "accept", "fields": _slots(accept), "bytes": shaken["accept"]},
        {"kind": "accept", "fields": _slots(long_accept), "bytes": long_accept.to_bytes()},
        {
            "kind": "sealed",
            "fields": {"session": sealed[3:11], "counter": 0, "ciphertext": sealed[19:]},
            "bytes": sealed,
        },
    ]


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def contacts() -> list[dict[str, Any]]:
    """Contact lists as they travel."""
    both = [Contact.of(OPEN, BOB.peer, BOB_ADDRESS), Contact.of(OPEN, CAROL.peer, CAROL_ADDRESS)]
    return [
        {"contacts": [[each.peer.hex(), *each.address] for each in some], "bytes": pack_contacts(some, 1020)}
        for some in ([], both[:1], both[1:], both)
    ]


def revocation_body() -> Revocation:
    """Bob says that his key was stolen."""
    return Revocation(1, BOB.peer, BOB.peer, STAMP, STOLEN)


def news() -> tuple[bytes, ...]:
    """One item of each kind that there is."""
    return (
        b"\x01" + contacts()[1]["bytes"],
        b"\x02" + leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, STAMP)),
        b"\x03" + BOB.peer + STAMP.to_bytes(8, "big"),
        b"\x04" + lives.sign(BOB, Life(1, BOB.peer, STAMP + 1, b"")),
        b"\x05" + forgotten_notices.sign(ALICE, Forgotten(1, ALICE.peer, BOB.peer, STAMP)),
        b"\x06" + all_evidence()[1]["name"] + BOB.peer,
        b"\x07" + revocations.sign(BOB, revocation_body()),
    )


def all_messages() -> list[dict[str, Any]]:
    """One of each message, and a second where it has two forms."""
    target, rid = seed("target"), 0x01020304
    record, packed = inline_record(ALICE), contacts()[3]["bytes"]
    strong, holders = make_record(ALICE, record_body(ALICE, strong=True)), ALICE.peer + BOB.peer
    provider = providers.sign(BOB, provider_body(REPLICA))
    notice, nonce = leave_notices.sign(ALICE, LeaveNotice(1, ALICE.peer, STAMP)), seed("vouch nonce")[:8]
    receipt = receipts.sign(BOB, receipt_body(OF_RECORD, record))
    floor = PackedFloor(record.key, record.version[:3])
    made = [
        messages.Ping(rid),
        messages.Ping(0xFFFFFFFF),
        messages.FindNode(rid, target),
        messages.FindValue(rid, target),
        messages.FindValue(rid, target, False),
        messages.FindProviders(rid, target),
        messages.Store(rid, record.raw, None),
        messages.Store(rid, record.raw, 3600),
        messages.AddProvider(rid, provider),
        messages.Members(rid, bytes(32)),
        messages.Members(rid, target, b"\x11\x22\x33\x44\x55\x66\x77\x88"),
        messages.Leave(rid, notice),
        messages.Release(rid, CONTENT, record.raw),
        messages.Release(rid, CONTENT, b""),
        messages.Agree(rid, b"\x01\x20\x02\x40\x01\x01\x80\x00", bytes(range(16))),
        messages.Prove(rid, AUDIT_NONCE, record.key + record.version.digest),
        messages.Attest(rid, OF_RECORD, record.key, record.version.digest, AUDIT_NONCE),
        messages.FindFloors(rid, pack_floors([floor])),
        messages.KeepFloors(rid, pack_floors([floor, floor._replace(left_s=600)])),
        messages.FindEntry(rid, target),
        messages.KeepEntry(rid, entries.sign(BOB, entry_body(ENTRY_CONTENT)), 600, True),
        messages.Relay(rid, BOB.peer, nonce),
        messages.Vouch(rid, nonce),
        messages.Tell(rid, news()),
        messages.Ping(rid, b"", news()),
        messages.Prepare(rid, target, 2**40 + 7, holders),
        messages.Accept(rid, 2**40 + 7, strong.raw, NONCE, 2, holders, holders[32:], NONCE[:6]),
        messages.Pong(rid, b"\x11" * 8),
        messages.Pong(rid, b"\x11" * 8, news()[:1]),
        messages.Vouched(rid, lives.sign(BOB, Life(1, BOB.peer, STAMP, nonce))),
        messages.Vouched(rid, b""),
        messages.Nodes(rid, packed),
        messages.Nodes(rid, b""),
        messages.Value(rid, record.raw, None, b""),
        messages.Value(rid, record.raw, 59, b""),
        messages.Value(rid, b"", None, packed, pack_version(floor.version)),
        messages.Providers(rid, [provider], packed),
        messages.Providers(rid, [], b""),
        messages.Stored(rid, receipt),
        messages.Newer(rid, record.raw),
        messages.Done(rid),
        messages.Proven(rid, proof_of(AUDIT_NONCE, body_bytes(record.raw)) + bytes(16)),
        messages.Attested(rid, attestations.sign(BOB, attestation_body(HAS, record))),
        messages.Floors(rid, b"\x00\x01\x02\x03"),
        messages.EntryFound(rid, entries.sign(BOB, entry_body(ENTRY_INLINE)), 59, True),
        messages.EntryFound(rid, b"", None, False),
        *following(rid, target, record.version.digest),
        messages.Promise(
            rid, True, 2**40 + 7, 2**33, BOB.peer, strong.raw, NONCE, 2, holders, holders[32:], NONCE[:6], 0
        ),
        messages.Promise(rid, True, 2**40 + 7, 0, b"", record.raw, b"", 0, b"", b"", b"", 9),
        messages.Promise(rid, False, 0, 0, b"", b"", b"", 0, holders, b"", b"", 0),
        messages.Accepted(rid),
        messages.Refused(rid, "no_room"),
        *_of_caching(rid, target, record),
    ]
    return [
        {"name": type(each).__name__, "tag": encode(each)[1], "fields": asdict(each), "bytes": encode(each)}
        for each in made
    ]


def following(rid: int, key: bytes, digest: bytes) -> list[messages.Request | messages.Reply]:
    """Make the messages of leases and followers."""
    return [
        messages.Follow(rid, key, digest, True),
        messages.Follow(rid, key, b"", False),
        messages.Changed(rid, key),
        messages.Following(rid, True, digest),
        messages.Following(rid, False, b""),
    ]


def entry_body(kind: int) -> Entry:
    """What bob put under a path of the build cache."""
    value = {ENTRY_CONTENT: CONTENT, ENTRY_INLINE: b"object code", ENTRY_GONE: b""}[kind]
    size = 7 if kind == ENTRY_CONTENT else len(value)
    return Entry(1, name_key(OPEN, "@cache/ab/cdef"), BOB.peer, kind, STAMP, 86400, size, value)


def _of_caching(rid: int, key: bytes, record: Record) -> tuple[messages.Request | messages.Reply, ...]:
    return (
        messages.FindValue(rid, key, True, True),
        messages.Value(rid, b"", None, b""),
        messages.Value(rid, record.raw, None, b"", b"", 120, 7),
        messages.KeepCached(rid, record.raw, None, 60),
        messages.Place(rid, key, BOB.peer),
    )


def record_body(who: Identity, **changes: Any) -> RecordBody:
    """A sound body, with changes."""
    name, owner = changes.get("name", NAME), changes.get("owner")
    fields: dict[str, Any] = {
        "format": 1,
        "key": name_key(who.network, name, owner),
        "name": name,
        "owner": None,
        "sequence": 1,
        "writer": who.peer,
        "nonce": NONCE,
        "kind": INLINE,
        "value": b"value",
        "size": 5,
        "copies": 3,
        "ttl_s": None,
        "strong": False,
    }
    return RecordBody(**{**fields, **changes})


def inline_record(who: Identity) -> Record:
    """A record that holds its value."""
    return make_record(who, record_body(who))


def provider_body(kind: int) -> Provider:
    """Bob has some content."""
    return Provider(1, CONTENT, BOB.peer, kind, STAMP, 3600)


def receipt_body(kind: int, record: Record) -> Receipt:
    """Bob promises to have a record, or content."""
    key, digest = (record.key, record.version.digest) if kind == OF_RECORD else (CONTENT[4:], CONTENT[4:])
    sequence = 1 if kind == OF_RECORD else 0
    return Receipt(2, kind, BOB.peer, seed("store")[:16], key, digest, sequence, 30 * 86400, STAMP)


def attestation_body(said: int, record: Record, **changes: Any) -> Attestation:
    """Bob says what he has of a record."""
    proof = proof_of(AUDIT_NONCE, body_bytes(record.raw)) if said == HAS else b""
    fields: dict[str, Any] = {
        "format": 1,
        "kind": OF_RECORD,
        "holder": BOB.peer,
        "store": seed("store")[:16],
        "key": record.key,
        "digest": record.version.digest,
        "nonce": AUDIT_NONCE,
        "stamp": STAMP + 1,
        "said": said,
        "proof": proof,
    }
    return Attestation(**{**fields, **changes})


def all_evidence() -> list[dict[str, Any]]:
    """One piece of each kind."""
    one, other = inline_record(ALICE), make_record(ALICE, record_body(ALICE, value=b"other"))
    promise = receipts.sign(BOB, receipt_body(OF_RECORD, one))
    denial = attestations.sign(BOB, attestation_body(HAS_NOT, one))
    pretence = attestations.sign(BOB, attestation_body(HAS, one, proof=bytes(16)))
    packed = [
        pack_evidence(EQUIVOCATION, ALICE.peer, one.raw, other.raw),
        pack_evidence(BROKEN_PROMISE, BOB.peer, promise, denial),
        pack_evidence(FALSE_PROOF, BOB.peer, pretence, one.raw),
    ]
    return [
        {"network": OPEN, "fields": asdict(read_evidence(raw)), "name": digest_of(raw), "bytes": raw} for raw in packed
    ]


def named_claim() -> Claim:
    """Alice is about to write a version that names some content."""
    return Claim(1, CONTENT, ALICE.peer, name_key(OPEN, NAME), 2, 3, NAME)


def added_claim() -> Claim:
    """Alice has added a directory, without a name, and wants five copies of it."""
    return Claim(1, FOLDER_CID, ALICE.peer, None, 0, 5, "")


def statements() -> list[dict[str, Any]]:
    """One of each statement, and each kind of record and provider record."""
    record = inline_record(ALICE)
    bodies: list[tuple[str, Identity, Any]] = [
        ("record", ALICE, record_body(ALICE)),
        ("record", ALICE, record_body(ALICE, value=b"", size=0, sequence=2)),
        ("record", ALICE, record_body(ALICE, kind=TOMBSTONE, value=b"", size=0, sequence=3)),
        ("record", ALICE, record_body(ALICE, kind=FILE, value=CONTENT, size=2**40, copies=5, ttl_s=86400)),
        ("record", ALICE, record_body(ALICE, kind=DIRECTORY, value=FOLDER_CID, size=7, sequence=2**33)),
        ("record", ALICE, record_body(ALICE, owner=ALICE.peer)),
        ("record", ALICE, record_body(ALICE, strong=True)),
        ("receipt", BOB, receipt_body(OF_RECORD, record)),
        ("receipt", BOB, receipt_body(OF_CONTENT, record)),
        ("attestation", BOB, attestation_body(HAS, record)),
        ("attestation", BOB, attestation_body(HAS_NOT, record)),
        ("provider", BOB, provider_body(REPLICA)),
        ("provider", BOB, provider_body(CACHE)),
        ("provider", BOB, provider_body(GONE)),
        ("alias", BOB, Alias(1, seed("file"), CID_DAG_PB + seed("root"), BOB.peer, STAMP, 3600)),
        ("entry", BOB, entry_body(ENTRY_CONTENT)),
        ("entry", BOB, entry_body(ENTRY_INLINE)),
        ("entry", BOB, entry_body(ENTRY_GONE)),
        ("notice", ALICE, LeaveNotice(1, ALICE.peer, STAMP)),
        ("claim", ALICE, named_claim()),
        ("claim", ALICE, added_claim()),
        ("life", BOB, Life(1, BOB.peer, STAMP, b"")),
        ("life", BOB, Life(1, BOB.peer, STAMP, seed("vouch nonce")[:8])),
        ("forgotten", ALICE, Forgotten(1, ALICE.peer, BOB.peer, STAMP)),
        ("revocation", BOB, revocation_body()),
    ]
    return [_statement(kind, who, body) for kind, who, body in bodies]


def _statement(kind: str, who: Identity, body: Any) -> dict[str, Any]:
    if kind == "record":
        raw = make_record(who, body).raw
    else:
        kinds: dict[str, Any] = {
            "receipt": receipts,
            "attestation": attestations,
            "provider": providers,
            "alias": aliases,
            "entry": entries,
            "notice": leave_notices,
            "life": lives,
            "forgotten": forgotten_notices,
            "revocation": revocations,
            "claim": claims,
        }
        raw = kinds[kind].sign(who, body)
    return {
        "kind": kind,
        "network": who.network,
        "signer": who.peer,
        "fields": asdict(body),
        "body": raw[:-SIGNATURE_BYTES],
        "digest": hashlib.sha256(raw[:-SIGNATURE_BYTES]).digest(),
        "signature": raw[-SIGNATURE_BYTES:],
        "bytes": raw,
    }


def hold_fields(hold: frames.HoldBody) -> dict[str, Any]:
    """A hold with its claims, as JSON has it."""
    return asdict(hold) | {"claims": [asdict(each) for each in hold.claims]}


def _reconciliation() -> list[tuple[str, int, bytes, dict[str, Any]]]:
    record = inline_record(ALICE)
    item = record.key + reconcile.mark_of_value(record.body.sequence, record.version.digest)
    known = seed("key") + reconcile.mark_of_deleted(2, ALICE.peer, NONCE)
    items = ItemSet()
    for each in (item, known):
        items.put(each[:32], each[32:])
    asked = [
        reconcile.RangeBody(b"\x10", reconcile.SAME, b""),
        reconcile.RangeBody(b"\x80", reconcile.ITEMS, b""),
        reconcile.RangeBody(b"", reconcile.FINGERPRINT, bytes(16)),
    ]
    *_, answered = answer(items, asked)
    told = answered.answer
    floor = pack_floors([PackedFloor(Key(seed("key")), (2, ALICE.peer, NONCE), 60)])
    entries = [
        reconcile.EntryBody(reconcile.RECORD, record.raw, None),
        reconcile.EntryBody(reconcile.FLOOR, floor, None),
        reconcile.EntryBody(reconcile.NOTHING, b"", None),
    ]
    return [
        ("RECONCILE", 7, encode(asked), {"ranges": [asdict(each) for each in asked]}),
        ("RANGES", 7, encode(told), {"ranges": [asdict(each) for each in told]}),
        ("PULL", 8, name_key(OPEN, NAME) + seed("key"), {"keys": [name_key(OPEN, NAME), seed("key")]}),
        ("ENTRIES", 8, encode(entries), {"entries": [asdict(each) for each in entries]}),
        ("OFFER", 9, item + known, {"items": [item, known]}),
        ("WANTED", 9, bytes([reconcile.WISHED, reconcile.KNOWN]), {"wanted": [reconcile.WISHED, reconcile.KNOWN]}),
        ("GIVE", 10, encode(entries[:1]), {"entries": [asdict(entries[0])]}),
        ("TAKEN", 10, bytes([reconcile.ACCEPTED]), {"taken": [reconcile.ACCEPTED]}),
    ]


def all_frames() -> dict[str, Any]:
    """The opening of a bulk connection from alice to bob, and one of each frame."""
    nonce = seed("bulk nonce")
    proof = ALICE.sign(b"peerd/1 bulk proof\x00", BOB.peer + nonce)
    hold = frames.HoldBody(CONTENT, 0, 7, [frames.ClaimBody(claims.sign(ALICE, named_claim()), 3600)])
    both = [claims.sign(BOB, Claim(1, FOLDER_CID, BOB.peer, None, 0, 3, "")), claims.sign(ALICE, added_claim())]
    added = frames.HoldBody(FOLDER_CID, 2, 2**40, [frames.ClaimBody(each, None) for each in both])
    versions = [
        frames.VersionBody(2, ALICE.peer, NONCE, None, 0, deleted=True, conflict=False),
        frames.VersionBody(1, BOB.peer, NONCE, CONTENT, 7, deleted=False, conflict=True),
    ]
    audited = [frames.AuditedBody(2, ALICE.peer, NONCE, bytes(range(16)), 1), None]
    receipt = receipts.sign(BOB, receipt_body(OF_CONTENT, inline_record(ALICE)))
    evidence = all_evidence()[1]
    revoked = revocations.sign(BOB, revocation_body())
    made = [
        ("NONCE", 0, nonce, None),
        ("PROOF", 0, ALICE.peer + proof, {"peer": ALICE.peer, "signature": proof}),
        ("READY", 0, b"", None),
        ("WANT", 1, CONTENT + FOLDER_CID, {"cids": [CONTENT, FOLDER_CID]}),
        ("WISH", 2, CONTENT, {"cids": [CONTENT]}),
        ("HOLD", 2, encode(hold), hold_fields(hold)),
        ("HOLD", 3, encode(added), hold_fields(added)),
        ("VERSIONS", 4, name_key(OPEN, NAME), {"key": name_key(OPEN, NAME)}),
        ("BLOCK", 1, CONTENT + b"content", {"cid": CONTENT, "data": b"content"}),
        ("MISSING", 1, FOLDER_CID, {"cid": FOLDER_CID}),
        ("HELD", 2, receipt, {"receipt": receipt}),
        ("PROGRESS", 3, b"", None),
        ("AUDIT", 5, name_key(OPEN, NAME) + seed("key"), {"keys": [name_key(OPEN, NAME), seed("key")]}),
        ("ROOTS", 6, CONTENT + FOLDER_CID, {"cids": [CONTENT, FOLDER_CID]}),
        ("AUDITED", 5, encode(audited), {"audited": [asdict(each) if each else None for each in audited]}),
        ("PROVE", 12, AUDIT_NONCE + CONTENT, {"nonce": AUDIT_NONCE, "cids": [CONTENT]}),
        ("PROVED", 12, proof_of(AUDIT_NONCE, b"content"), {"proofs": [proof_of(AUDIT_NONCE, b"content")]}),
        ("EVIDENCE", 13, evidence["name"], {"digests": [evidence["name"]]}),
        ("REVOCATIONS", 14, bytes(32) + bytes(range(16)), {"after": bytes(32), "digest": bytes(range(16))}),
        ("REVOKED", 14, encode([revoked]), {"revoked": [revoked]}),
        ("JOIN", 15, FOLDER_CID, {"root": FOLDER_CID}),
        ("JOINED", 15, b"\1" + BOB.peer, {"whole": True, "peers": [BOB.peer]}),
        ("HAVE", 0, FOLDER_CID + CONTENT, {"root": FOLDER_CID, "cids": [CONTENT]}),
        ("CREDIT", 0, FOLDER_CID + b"\1", {"root": FOLDER_CID, "unasked": True}),
        ("SHARE", 0, FOLDER_CID + CONTENT + b"content", {"root": FOLDER_CID, "cid": CONTENT, "data": b"content"}),
        ("LEAVE", 0, FOLDER_CID, {"root": FOLDER_CID}),
        ("PROPOSE", 0, FOLDER_CID + CONTENT, {"root": FOLDER_CID, "cid": CONTENT}),
        ("DECIDE", 0, FOLDER_CID + CONTENT + b"\0", {"root": FOLDER_CID, "cid": CONTENT, "wanted": False}),
        ("SHOWN", 13, encode([evidence["bytes"]]), {"evidence": [evidence["bytes"]]}),
        ("KEPT", 6, bytes([frames.PROMISED, frames.ABSENT]), {"kept": [frames.PROMISED, frames.ABSENT]}),
        *_reconciliation(),
        ("HISTORY", 4, encode(versions), {"versions": [asdict(each) for each in versions]}),
        ("FAILED", 3, b"no_room", {"code": "no_room"}),
    ]
    return {
        "network": OPEN,
        "server": BOB.peer,
        "certificate": certificate_of(seed("bob")),
        "frames": [
            {
                "name": name,
                "kind": getattr(frames, name),
                "id": rid,
                "fields": fields,
                "bytes": frames.pack(getattr(frames, name), rid, payload),
            }
            for name, rid, payload, fields in made
        ],
    }


def all_vectors() -> dict[str, Any]:
    """Every file by its name, as JSON has it."""
    shaken = handshake()
    made = {
        "ids": ids(),
        "handshake": shaken,
        "datagrams": datagrams(shaken),
        "contacts": contacts(),
        "messages": all_messages(),
        "statements": statements(),
        "frames": all_frames(),
        "evidence": all_evidence(),
    }
    made["rejected"] = rejected(made)
    return {name: plain(value) for name, value in made.items()}


def text_of(value: Any) -> str:
    """The file's text."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, value in all_vectors().items():
        (FOLDER / f"{name}.json").write_text(text_of(value))

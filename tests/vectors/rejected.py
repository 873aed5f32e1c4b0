"""Input that must be refused, with the reason: what mallory sends, and what a careless writer would.

Each is `what` judges it (PROTOCOL.md says how), `why` in words, the `reason` that is counted, and the bytes.
"""

import hashlib
from typing import Any

import msgspec

from peerd.identity import Identity
from peerd.ids import NetworkId, name_key
from peerd.records.notice import LeaveNotice, leave_notices
from peerd.records.provider import Provider, providers
from peerd.records.receipt import Receipt, receipts
from peerd.records.record import RecordBody
from peerd.wire import frames
from peerd.wire.codec import encode
from peerd.wire.handshake import Initiator, mac_key
from tests.vectors.cast import NOW, OPEN, PRIVATE, Script, identity, seed

Rejected = dict[str, Any]

RECORD_TAG = b"peerd/1 record\x00"


def flip(data: bytes, at: int) -> bytes:
    """The same with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def with_mac(body: bytes, network: NetworkId = PRIVATE) -> bytes:
    """`body` with the MAC by the network, as every member can make it."""
    return body + hashlib.blake2b(body, key=mac_key(network), digest_size=16).digest()


def rejected(made: dict[str, Any]) -> list[Rejected]:
    """All of them."""
    found = [*_layout(made["handshake"]), *_handshakes(made["handshake"]), *_sealed(made["handshake"])]
    found += [*_messages(), *_contacts(made["contacts"]), *_records(), *_statements(), *_frames()]
    return found


def _case(what: str, why: str, reason: str, data: bytes, **more: Any) -> Rejected:
    return {"what": what, "why": why, "reason": reason, "bytes": data, **more}


def _layout(shaken: dict[str, Any]) -> list[Rejected]:
    hello, challenge, finish, accept = (shaken[kind] for kind in ("hello", "challenge", "finish", "accept"))
    sealed = shaken["sealed"][0]["datagram"]
    return [
        _case("layout", "empty", "size", b""),
        _case("layout", "a byte shorter than the shortest", "size", sealed[:37]),
        _case("layout", "a byte longer than the longest", "size", sealed + bytes(1233 - len(sealed))),
        _case("layout", "another protocol", "foreign", b"\x51" + hello[1:]),
        _case("layout", "another version", "version", hello[:1] + b"\x02" + hello[2:]),
        _case("layout", "no such kind", "kind", hello[:2] + b"\x06" + hello[3:]),
        _case("layout", "a hello cut by a byte", "hello_size", hello[:-1]),
        _case("layout", "a hello with a byte more", "hello_size", hello + b"\x00"),
        _case("layout", "a challenge cut by a byte", "challenge_size", challenge[:-1]),
        _case("layout", "a challenge with a byte more", "challenge_size", challenge + b"\x00"),
        _case("layout", "a finish cut by a byte", "finish_size", finish[:-1]),
        _case("layout", "a finish with a byte more", "finish_size", finish + b"\x00"),
        _case(
            "layout",
            "a finish whose certificate is longer than it",
            "finish_size",
            finish[:99] + b"\x00\x01" + finish[101:],
        ),
        _case(
            "layout",
            "a finish with a certificate of 385 bytes",
            "finish_size",
            finish[:99] + (385).to_bytes(2, "big") + bytes(385) + finish[101:],
        ),
        _case(
            "layout",
            "an accept with a certificate of 385 bytes",
            "accept_size",
            accept[:83] + (385).to_bytes(2, "big") + bytes(385) + accept[85:],
        ),
        _case("layout", "an accept without its message", "accept_size", accept[:149]),
        _case(
            "layout",
            "an accept whose certificate is longer than it",
            "accept_size",
            accept[:83] + b"\x01\x80" + accept[85:],
        ),
    ]


def _handshakes(shaken: dict[str, Any]) -> list[Rejected]:
    inputs = shaken["inputs"]
    hello, challenge, finish, accept = (shaken[kind] for kind in ("hello", "challenge", "finish", "accept"))
    body = finish[:-16]
    other_network = Initiator(identity("alice", OPEN), Script(seed("x"), bytes(5))).hello_bytes()
    carol = identity("carol").peer
    from_carol = with_mac(challenge[:11] + carol + challenge[43:59])
    low_order = with_mac(_signed_finish(body[:35] + bytes(32) + body[67:], inputs["bob_peer"], "alice"))
    return [
        _case("hello", "of another network", "network", other_network),
        _case("hello", "altered", "network", flip(hello, 20)),
        _case("challenge", "altered", "network", flip(challenge, 20)),
        _case("challenge", "made without the network's secret", "network", with_mac(challenge[:-16], OPEN)),
        _case("challenge", "by carol, where bob is wanted", "other_peer", from_carol),
        _case("finish", "altered after the MAC was made", "network", flip(finish, 40)),
        _case("finish", "with an altered cookie", "cookie", with_mac(flip(body, 20))),
        _case("finish", "from another address", "cookie", finish, address=["192.0.2.9", 7433]),
        _case("finish", "from another port", "cookie", finish, address=["192.0.2.1", 7434]),
        _case("finish", "11 s after the challenge", "cookie", finish, clock_s=int(NOW) + 11),
        _case("finish", "by bob himself", "ourselves", with_mac(body[:67] + inputs["bob_peer"] + body[99:])),
        _case("finish", "in carol's name", "signature", with_mac(body[:67] + carol + body[99:])),
        _case("finish", "with an altered signature", "signature", with_mac(flip(body, len(body) - 1))),
        _case(
            "finish", "signed for carol, passed on to bob", "signature", with_mac(_signed_finish(body, carol, "alice"))
        ),
        _case("finish", "with an ephemeral key of low order", "ephemeral", low_order),
        _case("accept", "to another session", "unasked", flip(accept, 3)),
        _case("accept", "by carol, who did not challenge", "unasked", accept[:51] + carol + accept[83:]),
        _case("accept", "with another ephemeral key", "signature", flip(accept, 30)),
        _case("accept", "with an altered signature", "signature", flip(accept, 140)),
        _case("accept", "with an altered message", "unauthentic", flip(accept, len(accept) - 1)),
    ]


def _signed_finish(body: bytes, responder: bytes, signer: str) -> bytes:
    """The finish that `signer` would sign for `responder`; `body` is one without MAC and certificate."""
    unsigned = body[:101]
    return unsigned + identity(signer, PRIVATE).sign(b"peerd/1 handshake finish\x00", responder + unsigned)


def _sealed(shaken: dict[str, Any]) -> list[Rejected]:
    first = shaken["sealed"][0]["datagram"]
    return [
        _case("sealed", "with an altered counter", "unauthentic", flip(first, 18)),
        _case("sealed", "with an altered message", "unauthentic", flip(first, 20)),
        _case("sealed", "with an altered tag", "unauthentic", flip(first, len(first) - 1)),
        _case("sealed", "cut to its tag", "unauthentic", first[:38]),
        _case("sealed", "said twice", "replayed", first, after=[first]),
        _case("sealed", "sent back to who sealed it", "unauthentic", shaken["sealed"][2]["datagram"], to="alice"),
        _case("sealed", "of a session that no member made", "unknown_session", first[:3] + bytes(8) + first[11:]),
    ]


def _messages() -> list[Rejected]:
    long = bytes(1025)
    return [
        _case("message", "empty", "malformed", b""),
        _case("message", "no array", "malformed", encode({"rid": 1})),
        _case("message", "no such tag", "malformed", encode([10, 1])),
        _case("message", "a field too few", "malformed", encode([2, 1])),
        _case("message", "a field too many", "malformed", encode([70, 1, 2])),
        _case("message", "bytes after it", "malformed", encode([70, 1]) + b"\x00"),
        _case("message", "a request id of 33 bits", "malformed", encode([70, 2**32])),
        _case("message", "a negative request id", "malformed", encode([70, -1])),
        _case("message", "a target of 31 bytes", "malformed", encode([2, 1, bytes(31)])),
        _case("message", "a target that is text", "malformed", encode([2, 1, "x" * 32])),
        _case("message", "a record of 1,025 bytes", "malformed", encode([5, 1, long, None])),
        _case("message", "no second of life left", "malformed", encode([5, 1, b"r", 0])),
        _case("message", "a life of more than 100 years", "malformed", encode([5, 1, b"r", 100 * 365 * 86400 + 1])),
        _case("message", "six provider records", "malformed", encode([67, 1, [b"p"] * 6, b""])),
        _case("message", "contacts of 1,021 bytes", "malformed", encode([65, 1, bytes(1021)])),
        _case("message", "a refusal in capitals", "malformed", encode([127, 1, "NO_ROOM"])),
        _case("message", "a refusal of two lines", "malformed", encode([127, 1, "no_room\n"])),
        _case("message", "a refusal of 33 letters", "malformed", encode([127, 1, "x" * 33])),
        _case("message", "arrays in arrays in arrays", "malformed", b"\x91" * 1000),
        _case(
            "message", "an array that says it has 2^32 - 1 entries", "malformed", b"\x93\x43\x01\xdd\xff\xff\xff\xff"
        ),
        _case("message", "bytes that say they are 2^32 - 1", "malformed", b"\x93\x41\x01\xc6\xff\xff\xff\xff"),
    ]


def _contacts(lists: list[dict[str, Any]]) -> list[Rejected]:
    one, both = lists[1]["bytes"], lists[3]["bytes"]
    peer = one[:32]
    return [
        _case("contacts", "cut", "contact list", both[:-1]),
        _case("contacts", "of family 5", "contact list", peer + b"\x05" + bytes(6)),
        _case("contacts", "a peer twice", "contact twice", one + one),
        _case("contacts", "21 peers", "too many contacts", b"".join(bytes([n]) * 32 + one[32:] for n in range(21))),
        _case("contacts", "port 0", "contact address", one[:37] + bytes(2)),
        _case("contacts", "0.0.0.0", "contact address", peer + b"\x04" + bytes(4) + one[37:]),
        _case("contacts", "multicast", "contact address", peer + b"\x04\xe0\x00\x00\xfb" + one[37:]),
        _case("contacts", "broadcast", "contact address", peer + b"\x04\xff\xff\xff\xff" + one[37:]),
        _case("contacts", "IPv6 link-local", "contact address", peer + b"\x06\xfe\x80" + bytes(14) + one[37:]),
        _case(
            "contacts",
            "IPv4 written as IPv6",
            "contact address",
            peer + b"\x06" + bytes(10) + b"\xff\xff\xc0\x00\x02\x01" + one[37:],
        ),
    ]


def _sign_as(who: Identity, tag: bytes, fields: list[Any]) -> bytes:
    raw = encode(fields)
    return raw + who.sign(tag, raw)


def _records() -> list[Rejected]:
    alice, mallory = identity("alice"), identity("mallory")
    cid = b"\x01\x55\x12\x20" + seed("content")

    def record(why: str, reason: str, *, who: Identity = mallory, **changes: Any) -> Rejected:
        name, owner = changes.get("name", "n"), changes.get("owner")
        sound: dict[str, Any] = {
            "format": 1,
            "key": name_key(who.network, name, owner),
            "name": name,
            "owner": None,
            "sequence": 1,
            "writer": who.peer,
            "nonce": bytes(8),
            "kind": 1,
            "value": b"v",
            "size": 1,
            "copies": 3,
            "ttl_s": None,
            "strong": False,
        }
        assert list(sound) == list(RecordBody.__struct_fields__)
        fields = [*(sound | changes).values()]
        return _case("record", why, reason, _sign_as(who, RECORD_TAG, fields))

    good = record("", "")["bytes"]
    body, signature = good[:-64], good[-64:]
    return [
        _case("record", "a bit of the value altered", "signature", flip(body, len(body) - 5) + signature),
        _case("record", "a bit of the signature altered", "signature", flip(good, len(good) - 1)),
        _case(
            "record",
            "of another network",
            "signature",
            _sign_as(identity("mallory", PRIVATE), RECORD_TAG, _fields(body)),
        ),
        _case("record", "signed as a receipt", "signature", _sign_as(mallory, b"peerd/1 receipt\x00", _fields(body))),
        _case("record", "the number 1 written in two bytes", "not_canonical", b"\x9d\xcc\x01" + body[2:] + signature),
        _case("record", "no body", "statement_size", signature),
        _case("record", "1,025 bytes", "statement_size", bytes(1025)),
        _case("record", "bytes between body and signature", "malformed", body + b"\x00" + signature),
        record("by mallory in alice's name", "signature", writer=alice.peer),
        record("format 2", "malformed", format=2),
        record("sequence 0", "malformed", sequence=0),
        record("a sequence above 2^62", "malformed", sequence=2**62 + 1),
        record("a key that is not the name's", "record_key", key=seed("key")),
        record("another's own name", "record_owner", owner=alice.peer),
        record("a name of 256 bytes in 128 letters", "record_name", name="ü" * 128),
        record("a tombstone with a value", "record_value", kind=0),
        record("a tombstone with a size", "record_value", kind=0, value=b""),
        record("a value of another size", "record_value", size=2),
        record("a file without a CID", "record_value", kind=2),
        record("a file with a CID of another hash", "record_value", kind=2, value=b"\x01\x55\x1b\x20" + bytes(32)),
        record("a directory in a raw block", "record_value", kind=3, value=cid),
        record("a size that JSON readers cannot hold", "malformed", kind=2, value=cid, size=2**53),
        record("no copies", "malformed", copies=0),
        record("65 copies", "malformed", copies=65),
        record("a life of 0 s", "malformed", ttl_s=0),
        record("a strong one of more than 512 bytes", "statement_size", strong=True, value=bytes(400), size=400),
    ]


def _fields(body: bytes) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(body)
    return fields


def _statements() -> list[Rejected]:
    alice, bob, mallory = identity("alice"), identity("bob"), identity("mallory")
    key, store = seed("key"), bytes(16)
    receipt = receipts.sign(bob, Receipt(2, 1, bob.peer, store, key, key, 1, 60, 1))
    announced = providers.sign(bob, Provider(1, b"\x01\x55\x12\x20" + key, bob.peer, 1, 1, 60))
    notice = leave_notices.sign(alice, LeaveNotice(1, alice.peer, 1))
    forged = _sign_as(mallory, b"peerd/1 leave\x00", [1, alice.peer, 2])
    provider_tag = b"peerd/1 provider\x00"
    return [
        _case("receipt", "altered", "signature", flip(receipt, 80)),
        _case(
            "receipt",
            "of a kind that is none",
            "malformed",
            _sign_as(bob, b"peerd/1 receipt\x00", [2, 3, bob.peer, store, key, key, 1, 60, 1]),
        ),
        _case(
            "receipt",
            "for more than 400 days",
            "malformed",
            _sign_as(bob, b"peerd/1 receipt\x00", [2, 1, bob.peer, store, key, key, 1, 400 * 86400 + 1, 1]),
        ),
        _case(
            "receipt",
            "of the form before, without a stamp",
            "malformed",
            _sign_as(bob, b"peerd/1 receipt\x00", [1, 1, bob.peer, store, key, key, 1, 60]),
        ),
        _case("provider", "altered", "signature", flip(announced, 50)),
        _case(
            "provider",
            "for more than two days",
            "malformed",
            _sign_as(bob, provider_tag, [1, b"\x01\x55\x12\x20" + key, bob.peer, 1, 1, 2 * 86400 + 1]),
        ),
        _case("provider", "of what is no CID", "cid", _sign_as(bob, provider_tag, [1, bytes(36), bob.peer, 1, 1, 60])),
        _case("notice", "altered", "signature", flip(notice, 5)),
        _case("notice", "by mallory in alice's name", "signature", forged),
        _case("notice", "a receipt", "statement_size", receipt),
    ]


def _frames() -> list[Rejected]:
    def header(length: int, kind: int) -> bytes:
        return length.to_bytes(4, "big") + bytes([kind]) + bytes(4)

    cid = b"\x01\x55\x12\x20" + seed("content")
    lengths = [
        ("a nonce of 31 bytes", frames.NONCE, 31),
        ("a nonce of 33 bytes", frames.NONCE, 33),
        ("a proof of 97 bytes", frames.PROOF, 97),
        ("a ready with a payload", frames.READY, 1),
        ("a want of nothing", frames.WANT, 0),
        ("a want of 65 blocks", frames.WANT, 65 * 36),
        ("a hold of 4,609 bytes", frames.HOLD, 4_609),
        ("a block without its CID", frames.BLOCK, 35),
        ("a block of 2 MiB and a byte", frames.BLOCK, 36 + 2**21 + 1),
        ("a missing block without its CID", frames.MISSING, 0),
        ("a frame that says 4 GiB", frames.HELD, 2**32 - 1),
        ("a failure of 33 letters", frames.FAILED, 33),
    ]
    return [
        _case("frame_header", "no such kind", "frame_kind", header(0, 4)),
        *(_case("frame_header", why, "frame_size", header(length, kind)) for why, kind, length in lengths),
        _case("wants", "a block and a half", "want", cid + cid[:18]),
        _case("hold", "without a claim", "malformed", encode([cid, 0, 1, []])),
        _case("hold", "with nine claims", "malformed", encode([cid, 0, 1, [[bytes(65), None]] * 9])),
        _case("hold", "with a claim of 513 bytes", "malformed", encode([cid, 0, 1, [[bytes(513), None]]])),
        _case("hold", "of kind 3", "malformed", encode([cid, 3, 1, [[bytes(65), None]]])),
        _case(
            "hold",
            "in a longer spelling",
            "not_canonical",
            b"\x94\xc5\x00\x24" + cid + b"\x00\x01\x91" + encode([bytes(65), None]),
        ),
        _case("history", "33 versions", "malformed", encode([[1, bytes(32), bytes(8), None, 0, False, False]] * 33)),
    ]

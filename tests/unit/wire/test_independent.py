"""A client written from docs/PROTOCOL.md alone: it shares nothing with the daemon but the page, and meets the vectors.

It says hello, answers the challenge, opens the accept, pings and reads a value; then it plays the other side. Section
names in the comments are the page's.
"""

import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


# Messages, "Encoding": the few kinds of MessagePack that occur, in the canonical form.


def write(value: Any) -> bytes:
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if value < 128:
            return bytes([value])
        case int():
            code, width = next((c, w) for c, w in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)) if value < 256**w)
            return bytes([code]) + value.to_bytes(width, "big")
        case bytes():
            code, width = (0xC4, 1) if len(value) < 256 else (0xC5, 2)
            return bytes([code]) + len(value).to_bytes(width, "big") + value
        case str():
            text = value.encode()
            head = bytes([0xA0 | len(text)]) if len(text) < 32 else b"\xd9" + bytes([len(text)])
            return head + text
        case list():
            head = bytes([0x90 | len(value)]) if len(value) < 16 else b"\xdc" + len(value).to_bytes(2, "big")
            return head + b"".join(write(each) for each in value)
    raise TypeError(value)


def read(data: bytes) -> Any:
    value, end = _read(data, 0)
    assert end == len(data), "nothing may follow"
    assert write(value) == data, "canonical"
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    code, at = data[at], at + 1
    if code < 0x80:
        return code, at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if 0xCC <= code <= 0xCF:
        width = 1 << (code - 0xCC)
        return int.from_bytes(data[at : at + width], "big"), at + width
    if 0x90 <= code < 0xA0:
        return _read_array(data, at, code & 15)
    if code == 0xDC:
        return _read_array(data, at + 2, int.from_bytes(data[at : at + 2], "big"))
    if 0xA0 <= code < 0xC0:
        return data[at : at + (code & 31)].decode(), at + (code & 31)
    width = {0xC4: 1, 0xC5: 2, 0xD9: 1}[code]
    length, at = int.from_bytes(data[at : at + width], "big"), at + width
    raw = data[at : at + length]
    assert len(raw) == length
    return raw.decode() if code == 0xD9 else raw, at + length


def _read_array(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        value, at = _read(data, at)
        found.append(value)
    return found, at


# Ids.


def network_id(name: str, secret: bytes | None) -> bytes:
    salt = b"peerd/1 network id\0" + name.encode()
    return (
        hashlib.sha256(salt).digest()
        if secret is None
        else hashlib.scrypt(secret, salt=salt, n=16384, r=8, p=1, dklen=32)
    )


def name_key(network: bytes, name: str, owner: bytes | None) -> bytes:
    if owner is None:
        return hashlib.sha256(b"peerd/1 name key\0" + network + name.encode()).digest()
    return hashlib.sha256(b"peerd/1 own name key\0" + network + owner + name.encode()).digest()


def mac(network: bytes, body: bytes, size: int = 16) -> bytes:
    key = hashlib.sha256(b"peerd/1 handshake mac\0" + network).digest()
    return hashlib.blake2b(body, key=key, digest_size=size).digest()


def new_session(network: bytes, random: bytes) -> bytes:
    return random + mac(network, b"peerd/1 session id\0" + random, 3)


def signed_by(peer: bytes, tag: bytes, network: bytes, body: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(peer).verify(signature, tag + network + body)
    except InvalidSignature:
        return False
    return True


@dataclass
class Session:
    """Sealed datagrams."""

    session: bytes
    send_key: bytes
    read_key: bytes
    sent: int = 0

    def seal(self, message: list[Any]) -> bytes:
        head = b"P\x01\x05" + self.session + self.sent.to_bytes(8, "big")
        nonce = bytes(4) + self.sent.to_bytes(8, "big")
        self.sent += 1
        return head + AESGCM(self.send_key).encrypt(nonce, write(message), head)

    def open(self, datagram: bytes) -> list[Any]:
        assert datagram[:3] == b"P\x01\x05"
        plaintext = AESGCM(self.read_key).decrypt(bytes(4) + datagram[11:19], datagram[19:], datagram[:19])
        message: list[Any] = read(plaintext)
        return message


class Client:
    """One peer; its random inputs are given."""

    def __init__(self, seed: bytes, ephemeral: bytes, session_random: bytes, network: bytes) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(seed)
        self.peer = self.key.public_key().public_bytes_raw()
        self.ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self.public = self.ephemeral.public_key().public_bytes_raw()
        self.network = network
        self.session = new_session(network, session_random)

    def sign(self, tag: bytes, body: bytes) -> bytes:
        return self.key.sign(tag + self.network + body)

    # Handshake, steps 1, 3 and 5.

    def hello(self) -> bytes:
        body = b"P\x01\x01" + self.session + self.public + bytes(21)
        return body + mac(self.network, body)

    def finish(self, challenge: bytes, expected: bytes) -> bytes:
        assert len(challenge) == 75 and challenge[:3] == b"P\x01\x02"
        assert challenge[59:] == mac(self.network, challenge[:59])
        assert challenge[11:43] == expected
        echo, cookie = challenge[3:11], challenge[43:59]
        unsigned = b"P\x01\x03" + echo + cookie + self.session + self.public + self.peer + bytes(2)
        body = unsigned + self.sign(b"peerd/1 handshake finish\0", expected + unsigned)
        return body + mac(self.network, body)

    def accepted(self, finish: bytes, accept: bytes, expected: bytes) -> tuple[Session, list[Any]]:
        assert accept[:3] == b"P\x01\x04" and accept[3:11] == self.session and accept[51:83] == expected
        length = int.from_bytes(accept[83:85], "big")
        transcript = finish[:101] + accept[: 85 + length]
        signature = accept[85 + length : 149 + length]
        assert signed_by(expected, b"peerd/1 handshake accept\0", self.network, transcript, signature)
        to_responder, to_initiator = self.keys(accept[19:51], transcript)
        session = Session(accept[11:19], send_key=to_responder, read_key=to_initiator)
        return session, session.open(accept[149 + length :])

    # Steps 2 and 4, but for the cookie, which is the responder's own affair.

    def challenge(self, hello: bytes, cookie: bytes) -> bytes:
        assert len(hello) == 80 and hello[64:] == mac(self.network, hello[:64])
        body = b"P\x01\x02" + hello[3:11] + self.peer + cookie
        return body + mac(self.network, body)

    def accept(self, finish: bytes, first: list[Any]) -> tuple[Session, bytes]:
        length = int.from_bytes(finish[99:101], "big")
        signed, signature = finish[: 101 + length], finish[101 + length : 165 + length]
        assert finish[165 + length :] == mac(self.network, finish[: 165 + length])
        assert signed_by(finish[67:99], b"peerd/1 handshake finish\0", self.network, self.peer + signed, signature)
        unsigned = b"P\x01\x04" + finish[27:35] + self.session + self.public + self.peer + bytes(2)
        to_responder, to_initiator = self.keys(finish[35:67], signed + unsigned)
        session = Session(finish[27:35], send_key=to_initiator, read_key=to_responder)
        signature = self.sign(b"peerd/1 handshake accept\0", signed + unsigned)
        return session, unsigned + signature + session.seal(first)

    def keys(self, other: bytes, transcript: bytes) -> tuple[bytes, bytes]:
        shared = self.ephemeral.exchange(X25519PublicKey.from_public_bytes(other))
        salt = hashlib.sha256(self.network + transcript).digest()
        both = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"peerd/1 session keys\0").derive(shared)
        return both[:32], both[32:]


SHAKEN = vectors("handshake")
INPUTS = {
    name: bytes.fromhex(value)
    for name, value in SHAKEN["inputs"].items()
    if isinstance(value, str) and name != "network_name"
}
NETWORK = network_id(SHAKEN["inputs"]["network_name"], INPUTS["network_secret"])


def wire(name: str) -> bytes:
    return bytes.fromhex(SHAKEN[name])


def said(number: int) -> bytes:
    return bytes.fromhex(SHAKEN["sealed"][number]["datagram"])


@pytest.fixture
def alice() -> Client:
    return Client(INPUTS["alice_seed"], INPUTS["alice_ephemeral_private"], INPUTS["alice_session_random"], NETWORK)


@pytest.fixture
def bob() -> Client:
    return Client(INPUTS["bob_seed"], INPUTS["bob_ephemeral_private"], INPUTS["bob_session_random"], NETWORK)


def test_a_client_shakes_hands_pings_and_reads_a_value(alice: Client) -> None:
    bob = INPUTS["bob_peer"]
    assert alice.hello() == wire("hello")
    finish = alice.finish(wire("challenge"), bob)
    assert finish == wire("finish")
    session, first = alice.accepted(finish, wire("accept"), bob)
    assert first == [64, 0, b"\x11" * 8, []]

    assert session.seal([1, 1, bytes(36), []]) == said(0)
    assert session.open(said(1)) == [64, 1, b"\x11" * 8, []]

    key = name_key(NETWORK, "größer/⛵", None)
    assert session.seal([3, 2, key, True, False]) == said(2)
    tag, rid, record, *others = session.open(said(3))
    assert [tag, rid, *others] == [66, 2, None, b"", b"", 0, None]
    assert value_of(record, NETWORK, key) == b"value"


def test_a_client_answers_a_handshake_and_a_ping(bob: Client) -> None:
    assert bob.challenge(wire("hello"), wire("challenge")[43:59]) == wire("challenge")
    session, accept = bob.accept(wire("finish"), [64, 0, b"\x11" * 8, []])
    assert accept == wire("accept")
    assert session.open(said(0)) == [1, 1, bytes(36), []]
    assert session.seal([64, 1, b"\x11" * 8, []]) == said(1)


def test_a_client_answers_the_challenge_of_a_peer_that_forgot_the_session(alice: Client) -> None:
    challenge = bytes.fromhex(SHAKEN["forgotten"]["challenge"])
    assert challenge[3:11] == said(0)[3:11] and len(challenge) <= len(said(0))
    again = Client(INPUTS["alice_seed"], hashlib.sha256(b"another").digest(), b"again", NETWORK)
    finish = again.finish(challenge, INPUTS["bob_peer"])
    assert finish[3:11] == challenge[3:11] and finish[27:35] == again.session != alice.session


def value_of(record: bytes, network: bytes, key: bytes) -> bytes:
    """Records: verify, and return the value."""
    body, signature = record[:-64], record[-64:]
    fields = read(body)
    assert len(record) <= 1024 and len(fields) == 13 and fields[0] == 1
    assert fields[1] == key == name_key(network, fields[2], fields[3])
    assert fields[3] in (None, fields[5])
    assert signed_by(fields[5], b"peerd/1 record\0", network, body, signature)
    assert fields[7] == 1 and fields[9] == len(fields[8])
    value: bytes = fields[8]
    return value


TAGS = {
    "record": b"peerd/1 record\0",
    "receipt": b"peerd/1 receipt\0",
    "attestation": b"peerd/1 attestation\0",
    "provider": b"peerd/1 provider\0",
    "alias": b"peerd/1 alias\0",
    "entry": b"peerd/1 entry\0",
    "notice": b"peerd/1 leave\0",
    "claim": b"peerd/1 claim\0",
    "life": b"peerd/1 life\0",
    "forgotten": b"peerd/1 forgotten\0",
    "revocation": b"peerd/1 revocation\0",
}


@pytest.mark.parametrize("case", vectors("statements"), ids=lambda case: f"{case['kind']}-{case['digest'][:4]}")
def test_a_statement_is_its_fields_in_order_and_a_signature(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["bytes"])
    body, signature = raw[:-64], raw[-64:]
    assert [each.hex() if isinstance(each, bytes) else each for each in read(body)] == list(case["fields"].values())
    signer, network = bytes.fromhex(case["signer"]), bytes.fromhex(case["network"])
    assert signed_by(signer, TAGS[case["kind"]], network, body, signature)


@pytest.mark.parametrize("case", vectors("messages"), ids=lambda case: f"{case['name']}-{len(case['bytes']) // 2}")
def test_a_message_is_its_tag_and_its_fields_in_order(case: dict[str, Any]) -> None:
    def plain(value: Any) -> Any:
        return (
            value.hex()
            if isinstance(value, bytes)
            else [plain(each) for each in value]
            if isinstance(value, list)
            else value
        )

    assert plain(read(bytes.fromhex(case["bytes"]))) == [case["tag"], *case["fields"].values()]


@pytest.mark.parametrize("case", vectors("ids")["networks"], ids=lambda case: f"{case['name']}-{case['secret']}")
def test_the_ids_of_a_network(case: dict[str, Any]) -> None:
    network = network_id(case["name"], bytes.fromhex(case["secret"]) if case["secret"] is not None else None)
    assert network.hex() == case["network"]
    assert hashlib.sha256(b"peerd/1 network digest\0" + network).hexdigest()[:16] == case["digest"]
    assert hashlib.sha256(b"peerd/1 handshake mac\0" + network).hexdigest() == case["mac_key"]


def test_places_and_keys() -> None:
    ids = vectors("ids")
    for case in ids["places"]:
        place = hashlib.sha256(b"peerd/1 node id\0" + bytes.fromhex(case["network"]) + bytes.fromhex(case["peer"]))
        assert place.hexdigest() == case["place"]
    for case in ids["names"]:
        owner = bytes.fromhex(case["owner"]) if case["owner"] is not None else None
        assert name_key(bytes.fromhex(case["network"]), case["name"], owner).hex() == case["key"]


def test_a_bulk_connection_is_opened_with_a_proof_for_this_acceptor() -> None:
    told = vectors("frames")
    frames = {case["name"]: bytes.fromhex(case["bytes"]) for case in told["frames"]}
    assert struct.unpack(">IBI", frames["NONCE"][:9]) == (32, 1, 0)
    assert struct.unpack(">IBI", frames["PROOF"][:9]) == (96, 2, 0)
    nonce, peer, proof = frames["NONCE"][9:], frames["PROOF"][9:41], frames["PROOF"][41:]
    network, server = bytes.fromhex(told["network"]), bytes.fromhex(told["server"])
    assert signed_by(peer, b"peerd/1 bulk proof\0", network, server + nonce, proof)


def test_a_certificate_is_the_peers_key_in_fixed_bytes() -> None:
    told = vectors("frames")
    page = (Path(__file__).parents[3] / "docs" / "PROTOCOL.md").read_text().partition("**TLS 1.3**")[2]
    head, tbs = re.findall(r"(?s)\n(30 81 ce) .*?tbs = (30 81 81[0-9a-f\s]*)", page)[0]
    tbs_bytes = bytes.fromhex(tbs) + bytes.fromhex(told["server"])
    certificate = bytes.fromhex(told["certificate"])
    assert len(certificate) == 209
    assert certificate[:145] == bytes.fromhex(head) + tbs_bytes + bytes.fromhex("300506032b6570034100")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["server"])).verify(certificate[145:], tbs_bytes)
    assert x509.load_der_x509_certificate(certificate).subject.rfc4514_string() == "CN=peerd"


def test_this_client_knows_nothing_of_the_daemon() -> None:
    lines = Path(__file__).read_text().splitlines()
    assert [
        line for line in lines if line.startswith(("from peerd", "import peerd", "from tests", "import msgspec"))
    ] == []

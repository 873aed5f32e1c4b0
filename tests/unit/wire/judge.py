"""What the code says to an input: the reason of its refusal, as the vectors have it, or None where it takes it."""

from collections.abc import Callable
from typing import Any

from peerd.errors import WireError
from peerd.kad.contact import unpack_contacts
from peerd.records.attestation import attestations
from peerd.records.notice import leave_notices
from peerd.records.provider import providers
from peerd.records.receipt import receipts
from peerd.records.record import verify_record
from peerd.records.statement import Verifier
from peerd.trust.evidence import convicts
from peerd.wire import envelope, frames, limits, messages
from peerd.wire.handshake import Established, Initiator, Responder
from tests.vectors.cast import ALICE_ADDRESS, NOW, OPEN, PRIVATE, Script, identity, seed

PARSERS: dict[int, Callable[[bytes], object]] = {
    envelope.HELLO: envelope.parse_hello,
    envelope.CHALLENGE: envelope.parse_challenge,
    envelope.FINISH: envelope.parse_finish,
    envelope.ACCEPT: envelope.parse_accept,
    envelope.SEALED: lambda data: data,
}


def alice_begins() -> Initiator:
    """Alice's side of the handshake of handshake.json, before she has said anything."""
    entropy = Script(seed("alice ephemeral"), seed("alice session")[:5])
    return Initiator(identity("alice", PRIVATE), entropy, expected=identity("bob").peer)


def bob_waits() -> Responder:
    """Bob's side of the same."""
    entropy = Script(seed("bob cookie"), seed("bob ephemeral"), seed("bob session")[:5])
    return Responder(identity("bob", PRIVATE), entropy)


def shake_hands(first: bytes = b"first") -> tuple[Established, Established]:
    """The whole handshake; what alice and what bob have of it."""
    alice, bob = alice_begins(), bob_waits()
    _, challenge = bob.on_hello(alice.hello_bytes(), ALICE_ADDRESS, NOW)
    finish = alice.on_challenge(envelope.parse_challenge(challenge))
    at_bob, accept = bob.on_finish(finish, ALICE_ADDRESS, NOW + 0.1, first=first)
    return alice.on_accept(envelope.parse_accept(accept)), at_bob


def layout(data: bytes) -> object:
    """Read a datagram as far as its layout goes."""
    parse = PARSERS.get(envelope.kind_of(data))
    if parse is None:
        raise WireError("kind")
    return parse(data)


def _challenged(data: bytes, case: dict[str, Any]) -> None:
    alice_begins().on_challenge(envelope.parse_challenge(data))


def _finished(data: bytes, case: dict[str, Any]) -> None:
    host, port = case.get("address", ALICE_ADDRESS)
    bob_waits().on_finish(data, (host, port), case.get("clock_s", NOW + 0.1), first=b"")


def _accepted(data: bytes, case: dict[str, Any]) -> None:
    alice, bob = alice_begins(), bob_waits()
    _, challenge = bob.on_hello(alice.hello_bytes(), ALICE_ADDRESS, NOW)
    alice.on_challenge(envelope.parse_challenge(challenge))
    alice.on_accept(envelope.parse_accept(data))


def _sealed(data: bytes, case: dict[str, Any]) -> None:
    alice, bob = shake_hands()
    session = alice.session if case.get("to") == "alice" else bob.session
    if data[3:11] not in (alice.session.local_id, bob.session.local_id):
        bob_waits().challenge(data[3:11], ALICE_ADDRESS, NOW)
    for before in case.get("after", ()):
        session.open(bytes.fromhex(before))
    session.open(data)


_VERIFIER = Verifier(identity("bob"))

_JUDGES: dict[str, Callable[[bytes, dict[str, Any]], object]] = {
    "layout": lambda data, case: layout(data),
    "hello": lambda data, case: bob_waits().on_hello(data, ALICE_ADDRESS, NOW),
    "challenge": _challenged,
    "finish": _finished,
    "accept": _accepted,
    "sealed": _sealed,
    "message": lambda data, case: messages.decode(data),
    "contacts": lambda data, case: unpack_contacts(data, limits.CONTACTS_MAX),
    "record": lambda data, case: verify_record(data, OPEN, _VERIFIER),
    "receipt": lambda data, case: receipts.verify(data, _VERIFIER),
    "attestation": lambda data, case: attestations.verify(data, _VERIFIER),
    "evidence": lambda data, case: convicts(data, OPEN, _VERIFIER),
    "provider": lambda data, case: providers.verify(data, _VERIFIER),
    "notice": lambda data, case: leave_notices.verify(data, _VERIFIER),
    "frame_header": lambda data, case: frames.unpack_header(data),
    "wants": lambda data, case: frames.split_cids(data),
    "hold": lambda data, case: frames.hold_codec.decode_canonical(data),
    "history": lambda data, case: frames.history_codec.decode_canonical(data),
}


def refusal(case: dict[str, Any]) -> str | None:
    """Return why the code refuses the input of a case, None where it does not."""
    try:
        _JUDGES[case["what"]](bytes.fromhex(case["bytes"]), case)
    except WireError as error:
        return error.reason
    return None

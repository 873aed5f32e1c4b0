"""The committed vectors are what the code makes, and what the code reads of them is what they say."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peerd.kad.contact import unpack_contacts
from peerd.records.alias import aliases
from peerd.records.attestation import attestations
from peerd.records.claim import claims
from peerd.records.entry import entries
from peerd.records.evidence import digest_of, read_evidence
from peerd.records.life import forgotten_notices, lives
from peerd.records.notice import leave_notices
from peerd.records.provider import providers
from peerd.records.receipt import receipts
from peerd.records.record import verify_record
from peerd.records.revocation import revocations
from peerd.records.statement import Verifier
from peerd.trust.evidence import convicts
from peerd.wire import envelope, frames, messages, reconcile
from peerd.wire.codec import Codec
from tests.unit.wire.judge import PARSERS, layout, refusal
from tests.vectors import make
from tests.vectors.cast import OPEN, identity

FOLDER = Path(make.__file__).parent
MADE = make.all_vectors()


def committed(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def shown(case: dict[str, Any]) -> str:
    return f"{case['what']}: {case['why']}"


@pytest.mark.parametrize("name", MADE)
def test_the_committed_vectors_are_what_the_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == make.text_of(MADE[name]), "python -m tests.vectors.make"


def test_every_file_of_vectors_is_made() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MADE)


@pytest.mark.parametrize("case", committed("datagrams"), ids=lambda case: f"{case['kind']}-{len(case['bytes']) // 2}")
def test_a_datagram_is_read_as_its_fields(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    assert envelope.kind_of(data) == getattr(envelope, case["kind"].upper())
    parsed = layout(data)
    if case["kind"] == "sealed":
        assert (data[3:11].hex(), data[19:].hex()) == (case["fields"]["session"], case["fields"]["ciphertext"])
        return
    parts = parsed if isinstance(parsed, tuple) else (parsed,)
    fields = {name: getattr(parts[0], name).hex() for name in parts[0].__slots__}
    if len(parts) == 3:
        fields["mac"] = parts[2].hex()
        assert parts[1] + parts[2] == data
    assert fields == case["fields"]


def test_there_is_a_vector_for_every_kind_of_datagram() -> None:
    assert {getattr(envelope, case["kind"].upper()) for case in committed("datagrams")} == set(PARSERS)


@pytest.mark.parametrize("case", committed("messages"), ids=lambda case: f"{case['name']}-{len(case['bytes']) // 2}")
def test_a_message_is_read_as_its_fields(case: dict[str, Any]) -> None:
    message = messages.decode(bytes.fromhex(case["bytes"]))
    assert type(message).__name__ == case["name"]
    assert make.plain(msgspec.structs.asdict(message)) == case["fields"]


def test_there_is_a_vector_for_every_message() -> None:
    kinds = {kind.__name__ for kind in (*messages.Request.__args__, *messages.Reply.__args__)}
    assert {case["name"] for case in committed("messages")} == kinds


@pytest.mark.parametrize("case", committed("contacts"), ids=lambda case: str(len(case["contacts"])))
def test_contacts_are_read_as_they_were_told(case: dict[str, Any]) -> None:
    found = unpack_contacts(bytes.fromhex(case["bytes"]), 20)
    assert [[peer.hex(), *address] for peer, address in found] == case["contacts"]


@pytest.mark.parametrize("case", committed("statements"), ids=lambda case: f"{case['kind']}-{case['digest'][:4]}")
def test_a_statement_is_verified_and_read_as_its_fields(case: dict[str, Any]) -> None:
    raw, verifier = bytes.fromhex(case["bytes"]), Verifier(identity("bob"))
    if case["kind"] == "record":
        record = verify_record(raw, OPEN, verifier)
        assert record.version.digest.hex() == case["digest"]
        body: Any = record.body
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
        body = kinds[case["kind"]].verify(raw, verifier)
    assert make.plain(msgspec.structs.asdict(body)) == case["fields"]
    assert case["body"] + case["signature"] == case["bytes"]


@pytest.mark.parametrize("case", committed("evidence"), ids=lambda case: str(case["fields"]["kind"]))
def test_evidence_convicts_whom_it_accuses(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["bytes"])
    assert make.plain(msgspec.structs.asdict(read_evidence(raw))) == case["fields"]
    assert digest_of(raw).hex() == case["name"]
    assert convicts(raw, OPEN, Verifier(identity("carol"))).hex() == case["fields"]["accused"]


@pytest.mark.parametrize("case", committed("frames")["frames"], ids=lambda case: f"{case['name']}-{case['id']}")
def test_a_frame_is_read_as_its_fields(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    length, kind, rid = frames.unpack_header(data[: frames.HEADER_BYTES])
    assert (length, kind, rid) == (len(data) - frames.HEADER_BYTES, getattr(frames, case["name"]), case["id"])
    payload = data[frames.HEADER_BYTES :]
    codecs: dict[str, Codec[Any]] = {"HOLD": frames.hold_codec, "HISTORY": frames.history_codec}
    if case["name"] in ("WANT", "WISH", "ROOTS"):
        assert [cid.hex() for cid in frames.split_cids(payload)] == case["fields"]["cids"]
    elif case["name"] in ("RECONCILE", "RANGES"):
        ranges = [msgspec.structs.asdict(each) for each in reconcile.ranges_codec.decode_canonical(payload)]
        assert make.plain({"ranges": ranges}) == case["fields"]
    elif case["name"] in ("ENTRIES", "GIVE"):
        entries = [msgspec.structs.asdict(each) for each in reconcile.entries_codec.decode_canonical(payload)]
        assert make.plain({"entries": entries}) == case["fields"]
    elif case["name"] == "OFFER":
        assert [(key + mark).hex() for key, mark in reconcile.split_items(payload)] == case["fields"]["items"]
    elif case["name"] in ("WANTED", "TAKEN"):
        assert list(payload) == case["fields"][case["name"].lower()]
    elif case["name"] in ("AUDIT", "PULL"):
        assert [key.hex() for key in frames.split_keys(payload)] == case["fields"]["keys"]
    elif case["name"] == "AUDITED":
        told = [
            msgspec.structs.asdict(each) if each else None for each in frames.audited_codec.decode_canonical(payload)
        ]
        assert make.plain({"audited": told}) == case["fields"]
    elif case["name"] == "PROVE":
        nonce, cids = frames.split_prove(payload)
        assert {"nonce": nonce.hex(), "cids": [cid.hex() for cid in cids]} == case["fields"]
    elif case["name"] == "EVIDENCE":
        assert [digest.hex() for digest in frames.split_digests(payload)] == case["fields"]["digests"]
    elif case["name"] == "REVOCATIONS":
        assert payload.hex() == case["fields"]["after"] + case["fields"]["digest"]
    elif case["name"] == "REVOKED":
        assert [raw.hex() for raw in frames.revoked_codec.decode_canonical(payload)] == case["fields"]["revoked"]
    elif case["name"] == "SHOWN":
        shown = [raw.hex() for raw in frames.shown_codec.decode_canonical(payload)]
        assert shown == case["fields"]["evidence"]
    elif case["name"] == "JOINED":
        whole, peers = frames.split_joined(payload)
        assert {"whole": whole, "peers": [peer.hex() for peer in peers]} == case["fields"]
    elif case["name"] == "KEPT":
        assert list(payload) == case["fields"]["kept"]
    elif case["name"] in codecs:
        value = codecs[case["name"]].decode_canonical(payload)
        read = (
            {"versions": [msgspec.structs.asdict(each) for each in value]}
            if isinstance(value, list)
            else make.hold_fields(value)
        )
        assert make.plain(read) == case["fields"]


def test_there_is_a_vector_for_every_frame() -> None:
    kinds = {case["kind"] for case in committed("frames")["frames"]}
    opening = {frames.NONCE, frames.PROOF, frames.READY}
    assert kinds == frames.REQUESTS | frames.ANSWERS | frames.SHARING | {frames.SHARE} | opening


@pytest.mark.parametrize("case", committed("rejected"), ids=shown)
def test_bad_input_is_refused_for_its_reason(case: dict[str, Any]) -> None:
    assert refusal(case) == case["reason"]

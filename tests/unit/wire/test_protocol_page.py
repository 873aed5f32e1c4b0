"""docs/PROTOCOL.md says what the code does, where a machine can compare."""

import re
from pathlib import Path

import msgspec
import pytest

from peerd.node import bulk, callers
from peerd.records.alias import Alias
from peerd.records.attestation import Attestation
from peerd.records.claim import Claim
from peerd.records.entry import Entry
from peerd.records.evidence import Evidence
from peerd.records.life import Forgotten, Life
from peerd.records.notice import LeaveNotice
from peerd.records.provider import Provider
from peerd.records.receipt import Receipt
from peerd.records.record import RecordBody
from peerd.records.revocation import Revocation
from peerd.wire import envelope, fields, frames, limits, messages, reconcile
from peerd.wire.codec import encode

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "PROTOCOL.md").read_text()
SECTIONS = dict(re.findall(r"(?ms)^#{2,3} ([^\n]+)\n(.*?)(?=^#{2,3} |\Z)", PAGE))


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def number(text: str) -> int:
    assert re.fullmatch(r"[\d,^ +-]+", text), text
    value: int = eval(text.replace(",", "").replace("^", "**"))
    return value


def test_the_table_of_limits_is_that_of_the_code() -> None:
    told = {name.strip("`"): number(value) for name, value, *_ in rows(SECTIONS["Limits"])[1:]}
    assert told == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_every_limit_says_what_it_stops() -> None:
    assert [row[0] for row in rows(SECTIONS["Limits"]) if not row[2]] == []


def test_the_tables_of_messages_have_each_with_its_tag_and_its_fields_in_order() -> None:
    told = {row[1].strip("`"): (int(row[0]), row[2]) for row in rows(SECTIONS["Messages"]) if row[0].isdigit()}
    told = {name: (tag, fields) for name, (tag, fields) in told.items() if name[0].isupper()}
    kinds = [*messages.Request.__args__, *messages.Reply.__args__]
    assert told == {
        kind.__name__: (kind.__struct_config__.tag, ", ".join(f"`{name}`" for name in kind.__struct_fields__))
        for kind in kinds
    }


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Records", RecordBody),
        ("Receipts", Receipt),
        ("Attestations", Attestation),
        ("Provider records", Provider),
        ("Aliases", Alias),
        ("Entries of build caches", Entry),
        ("Leave notices", LeaveNotice),
        ("Claims", Claim),
        ("Statements of life", Life),
        ("Notices of the forgotten", Forgotten),
        ("Revocations", Revocation),
    ],
)
def test_the_table_of_a_statement_has_its_fields_in_order(section: str, kind: type[msgspec.Struct]) -> None:
    told = [row[1].strip("`") for row in rows(SECTIONS[section]) if row[0].isdigit()]
    assert told == list(kind.__struct_fields__)


def test_the_table_of_evidence_has_its_fields_in_order() -> None:
    told = [row[1].strip("`") for row in rows(SECTIONS["Evidence"]) if row[0].isdigit()]
    assert told == list(Evidence.__struct_fields__)


def test_the_tables_of_hold_history_and_audited_have_their_fields_in_order() -> None:
    named = [row[1].strip("`") for row in rows(SECTIONS["Bulk"]) if row[1].startswith("`")]
    assert [name for name in named if name.islower()] == [
        *frames.HoldBody.__struct_fields__,
        *frames.ClaimBody.__struct_fields__,
        *frames.VersionBody.__struct_fields__,
        *frames.AuditedBody.__struct_fields__,
    ]


def test_the_tables_of_reconciliation_have_their_fields_in_order() -> None:
    told = [row[1].strip("`") for row in rows(SECTIONS["Reconciliation"]) if row[0].isdigit()]
    kinds = (reconcile.RangeBody, reconcile.EntryBody)
    assert told == [name for kind in kinds for name in kind.__struct_fields__]


def test_the_table_of_frames_has_their_kinds_and_lengths() -> None:
    told = {row[1].strip("`"): (int(row[0]), row[3]) for row in rows(SECTIONS["Bulk"]) if re.match(r"`[A-Z]+`", row[1])}
    assert {name: kind for name, (kind, _) in told.items()} == {name: getattr(frames, name) for name in told}
    assert {kind for kind, _ in told.values()} == set(frames._PAYLOAD_BYTES)
    for kind, lengths in told.values():
        least, _, most = lengths.partition(" to ")
        assert (number(least), number(most or least)) == frames._PAYLOAD_BYTES[kind]


def test_every_domain_tag_of_the_code_is_on_the_page_and_none_begins_another() -> None:
    code = "".join(path.read_text() for path in (ROOT / "peerd").rglob("*.py"))
    tags = set(re.findall(r'b"(peerd/1 [^"]*?)\\x00"', code))
    assert len(tags) >= 14
    assert {tag for tag in tags if f"{tag}\\0" not in PAGE} == set()
    assert set(re.findall(r"peerd/1 [a-z ]+(?=\\0)", PAGE)) == tags


def test_the_lengths_of_datagrams_are_those_of_the_code() -> None:
    assert f"{limits.HELLO_BYTES} bytes" in SECTIONS["1 hello"]
    assert f"{envelope.CHALLENGE_BYTES} bytes" in SECTIONS["2 challenge"]
    assert (
        envelope.SEALED_HEADER_BYTES + envelope.TAG_BYTES + len(encode(messages.Done(0))) == limits.DATAGRAM_MIN_BYTES
    )


def test_a_challenge_is_never_longer_than_what_it_answers() -> None:
    sealed = envelope.SEALED_HEADER_BYTES + envelope.TAG_BYTES
    shortest_ping = sealed + len(encode(messages.Ping(0)))
    assert sealed + len(encode(messages.Vouch(0, bytes(8)))) >= envelope.CHALLENGE_BYTES
    assert limits.HELLO_BYTES >= envelope.CHALLENGE_BYTES
    assert shortest_ping >= envelope.CHALLENGE_BYTES


def test_what_the_page_says_of_a_bulk_connection_is_what_it_does() -> None:
    text = SECTIONS["Bulk"]
    assert f"within {callers.OPENING_TIMEOUT_S:.0f} s" in text
    assert f"({bulk.HOLDS_MAX} at a time)" in text
    assert f"At most {bulk.QUEUED_MAX} requests" in text
    assert f"not used for {bulk.IDLE_CLOSE_S:.0f} s" in text


def test_a_whole_record_fits_every_message_that_carries_one() -> None:
    record, cid, rid = bytes(limits.RECORD_MAX_BYTES), bytes(36), 0xFFFFFFFF
    strong, peers = bytes(limits.STRONG_RECORD_MAX_BYTES), bytes(32 * limits.REGISTER_HOLDERS_MAX)
    past, most = bytes(6 * limits.REGISTER_PAST_MAX), limits.BALLOT_MAX
    for message in (
        messages.Store(rid, record, limits.TTL_MAX_S),
        messages.Release(rid, cid, record),
        messages.Value(rid, record, limits.TTL_MAX_S, b""),
        messages.Newer(rid, record),
        messages.Prove(rid, bytes(16), bytes(limits.PROVEN_MAX * fields.PROVEN_BYTES)),
        messages.Promise(rid, True, most, 0, b"", record, b"", 0, b"", b"", b"", limits.SEQUENCE_MAX),
        messages.Promise(rid, True, most, most, bytes(32), strong, bytes(8), 2**32 - 1, peers, peers, past, 2**62),
        messages.Accept(rid, most, strong, bytes(8), 2**32 - 1, peers, peers, past),
    ):
        assert len(encode(message)) <= envelope.PLAINTEXT_MAX_BYTES

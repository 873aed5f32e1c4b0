"""Records say what they may say, are written by who may, and have one order that all replicas agree on."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.records.record import (
    DIRECTORY,
    FILE,
    INLINE,
    TOMBSTONE,
    Record,
    RecordBody,
    check_body,
    make_record,
    newest,
    read_record,
    verify_record,
)
from peerd.records.statement import Verifier
from peerd.records.version import Version, version_text
from peerd.wire import limits
from tests.vectors.cast import OPEN, PRIVATE, identity, seed
from tests.vectors.make import record_body

ALICE, BOB, MALLORY = identity("alice"), identity("bob"), identity("mallory")
RAW_CID = b"\x01\x55\x12\x20" + seed("content")
DAG_CID = b"\x01\x70\x12\x20" + seed("content")


def record(**changes: Any) -> Record:
    who = changes.pop("who", ALICE)
    return make_record(who, record_body(who, **changes))


def refusal(found: Record) -> str:
    with pytest.raises(WireError) as caught:
        verify_record(found.raw, OPEN, Verifier(BOB))
    return caught.value.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": INLINE, "value": b"v", "size": 1},
        {"kind": INLINE, "value": b"", "size": 0},
        {"kind": TOMBSTONE, "value": b"", "size": 0},
        {"kind": FILE, "value": RAW_CID, "size": 7},
        {"kind": FILE, "value": DAG_CID, "size": limits.CONTENT_MAX_BYTES, "copies": limits.COPIES_MAX},
        {"kind": DIRECTORY, "value": DAG_CID, "size": 7, "ttl_s": limits.TTL_MAX_S},
        {"owner": ALICE.peer, "sequence": limits.SEQUENCE_MAX},
        {"name": "x" * 255},
        {"name": "\x00\n../⛵"},
    ],
)
def test_a_sound_record_is_verified_and_read(changes: dict[str, Any]) -> None:
    made = record(**changes)
    verified = verify_record(made.raw, OPEN, Verifier(BOB))
    assert verified == read_record(made.raw) == made
    assert verified.deleted == (made.body.kind == TOMBSTONE)


def test_every_altered_byte_of_a_record_is_refused() -> None:
    raw, verifier = record().raw, Verifier(BOB)
    for at in range(len(raw)):
        with pytest.raises(WireError):
            verify_record(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], OPEN, verifier)


def test_a_record_of_another_network_is_refused() -> None:
    assert refusal(record(who=identity("alice", PRIVATE))) == "signature"


def test_a_record_stands_under_the_key_of_its_name_and_owner() -> None:
    assert refusal(record(key=seed("elsewhere"))) == "record_key"
    assert refusal(record(key=record_body(ALICE).key, owner=ALICE.peer)) == "record_key"
    assert refusal(record(key=record_body(ALICE, name="other").key)) == "record_key"


def test_only_its_owner_writes_an_own_name_and_everybody_a_shared_one() -> None:
    assert refusal(record(who=MALLORY, owner=ALICE.peer)) == "record_owner"
    assert verify_record(record(who=MALLORY).raw, OPEN, Verifier(BOB)).body.writer == MALLORY.peer


def test_nobody_writes_in_anothers_name() -> None:
    with pytest.raises(AssertionError):
        record(who=MALLORY, writer=ALICE.peer)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": TOMBSTONE},
        {"kind": TOMBSTONE, "value": b"", "size": 1},
        {"size": 4},
        {"kind": FILE},
        {"kind": FILE, "value": RAW_CID + b"\x00"},
        {"kind": FILE, "value": bytes(36)},
        {"kind": FILE, "value": b"\x01\x71\x12\x20" + bytes(32)},
        {"kind": DIRECTORY, "value": RAW_CID},
    ],
)
def test_kind_value_and_size_fit_each_other(changes: dict[str, Any]) -> None:
    assert refusal(record(**changes)) == "record_value"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 0},
        {"format": 2},
        {"sequence": 0},
        {"sequence": -1},
        {"sequence": limits.SEQUENCE_MAX + 1},
        {"nonce": bytes(7)},
        {"kind": 4},
        {"size": -1},
        {"size": limits.CONTENT_MAX_BYTES + 1},
        {"copies": 0},
        {"copies": limits.COPIES_MAX + 1},
        {"ttl_s": 0},
        {"ttl_s": limits.TTL_MAX_S + 1},
        {"name": ""},
        {"name": "x" * 256},
    ],
)
def test_a_field_out_of_its_bounds_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(record(**changes)) == "malformed"


def test_a_name_is_bounded_in_bytes_and_not_in_letters() -> None:
    assert refusal(record(name="ü" * 128)) == "record_name"
    assert verify_record(record(name="ü" * 127).raw, OPEN, Verifier(BOB))


def test_a_record_of_1024_bytes_is_made_and_one_byte_more_is_not() -> None:
    room = limits.RECORD_MAX_BYTES - len(record(value=bytes(300), size=300).raw) + 300
    made = record(value=bytes(room), size=room)
    assert len(made.raw) == limits.RECORD_MAX_BYTES
    assert verify_record(made.raw, OPEN, Verifier(BOB)) == made
    with pytest.raises(WireError, match="statement_size"):
        record(value=bytes(room + 1), size=room + 1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1100))
def test_any_bytes_are_no_record(raw: bytes) -> None:
    with pytest.raises(WireError):
        verify_record(raw, OPEN, Verifier(BOB))


BODIES = st.builds(
    lambda who, sequence, nonce, value: make_record(
        who, record_body(who, sequence=sequence, nonce=nonce, value=value, size=len(value))
    ),
    st.sampled_from([ALICE, BOB, MALLORY]),
    st.integers(1, 3),
    st.sampled_from([bytes(8), b"\x01" + bytes(7), b"\xff" * 8]),
    st.sampled_from([b"", b"a", b"b"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=5))
def test_all_replicas_choose_the_same_record_whatever_the_order_of_arrival(records: list[Record]) -> None:
    chosen = {newest(list(order)).raw for order in permutations(records)}  # type: ignore[union-attr]
    assert len(chosen) == 1


@settings(max_examples=60, deadline=None)
@given(BODIES, BODIES)
def test_two_records_are_of_one_version_only_where_they_say_the_same(a: Record, b: Record) -> None:
    assert (a.version == b.version) == (a.raw == b.raw)
    assert (a.version < b.version) + (b.version < a.version) + (a.raw == b.raw) == 1


def test_the_order_is_sequence_then_writer_then_nonce_then_digest() -> None:
    low, high = b"\x00" * 32, b"\xff" * 32
    ordered = [
        Version(1, high, high[:8], high),
        Version(2, low, high[:8], high),
        Version(2, high, low[:8], high),
        Version(2, high, high[:8], low),
        Version(2, high, high[:8], high),
        Version(10, low, low[:8], low),
    ]
    assert sorted(ordered) == ordered


def test_a_versions_text_is_the_same_for_all_and_another_for_each() -> None:
    assert version_text(3, ALICE.peer, bytes(8)) == record(sequence=3, nonce=bytes(8)).version.text
    texts = {version_text(n, who.peer, bytes([b]) * 8) for n in (1, 2) for who in (ALICE, BOB) for b in (0, 1)}
    assert len(texts) == 8


def test_the_newest_of_nothing_is_nothing() -> None:
    assert newest([]) is None


def test_what_is_stored_is_checked_by_the_same_rules() -> None:
    body = RecordBody(
        **{name: getattr(record_body(ALICE), name) for name in RecordBody.__struct_fields__} | {"size": 9}
    )
    with pytest.raises(WireError, match="record_value"):
        check_body(body, OPEN)

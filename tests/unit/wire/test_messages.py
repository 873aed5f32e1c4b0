"""Messages and frames: hostile bytes end in a value or a WireError, within the bounds, and cost little."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.wire import envelope, frames, limits, messages
from peerd.wire.codec import Codec, encode
from tests.unit.wire.judge import layout
from tests.vectors import make

ENCODED = [bytes.fromhex(case["bytes"]) for case in make.plain(make.all_messages())]


@pytest.mark.parametrize("data", ENCODED, ids=lambda data: f"tag-{data[1]}-{len(data)}")
def test_a_message_has_one_encoding_and_nothing_is_left_out(data: bytes) -> None:
    assert encode(messages.decode(data)) == data
    for end in range(len(data)):
        with pytest.raises(WireError):
            messages.decode(data[:end])
    with pytest.raises(WireError):
        messages.decode(data + b"\x00")


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ENCODED), st.data())
def test_an_altered_message_is_another_message_or_refused(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    altered = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    try:
        message = messages.decode(altered)
    except WireError as error:
        assert error.reason == "malformed"
    else:
        assert len(encode(message)) <= envelope.PLAINTEXT_MAX_BYTES + 64


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(NESTED)
def test_any_messagepack_is_a_message_or_refused(value: Any) -> None:
    for codec in (messages, frames.hold_codec, frames.history_codec):
        try:
            codec.decode(encode(value))  # type: ignore[attr-defined]
        except WireError as error:
            assert error.reason == "malformed"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1300))
def test_any_bytes_are_laid_out_as_a_datagram_or_refused(data: bytes) -> None:
    for candidate in (data, *(envelope.header(kind) + data for kind in range(7))):
        try:
            layout(candidate)
        except WireError as error:
            assert error.reason in {
                "size",
                "foreign",
                "version",
                "kind",
                "hello_size",
                "challenge_size",
                "finish_size",
                "accept_size",
            }


@pytest.mark.parametrize(
    "data",
    [
        b"\x93\x43\x01\xdd\xff\xff\xff\xff",
        b"\x93\x43\x01\xdc\xff\xff" + bytes(100),
        b"\x93\x41\x01\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 1197,
    ],
)
def test_a_length_that_lies_takes_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            messages.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_arrays_without_an_end_are_refused_whatever_is_read() -> None:
    codec: Codec[Any] = Codec(Any)
    with pytest.raises(WireError, match="malformed"):
        codec.decode(b"\x91" * 100_000)


def test_a_second_spelling_of_a_value_is_not_canonical() -> None:
    codec: Codec[list[int]] = Codec(list[int])
    assert codec.decode_canonical(b"\x91\x01") == [1]
    for spelling in (b"\x91\xcc\x01", b"\x91\xcd\x00\x01", b"\xdc\x00\x01\x01", b"\x91\xd0\x01"):
        assert codec.decode(spelling) == [1]
        with pytest.raises(WireError, match="not_canonical"):
            codec.decode_canonical(spelling)


@settings(max_examples=150, deadline=None)
@given(NESTED)
def test_what_is_canonical_is_what_would_be_written(value: Any) -> None:
    codec: Codec[Any] = Codec(Any)
    data = encode(value)
    try:
        assert encode(codec.decode_canonical(data)) == data
    except WireError as error:
        assert error.reason == "malformed"


def test_a_refusals_code_is_a_word() -> None:
    for code in ("no_room", "a", "x" * limits.REFUSAL_CODE_MAX):
        assert messages.decode(encode(messages.Refused(1, code))) == messages.Refused(1, code)
    for code in ("", "two words", "x\n", "<b>", "x" * (limits.REFUSAL_CODE_MAX + 1)):
        with pytest.raises(WireError):
            messages.decode(encode(messages.Refused(1, code)))


def test_a_frame_is_refused_by_its_header_before_its_payload_is_read() -> None:
    for kind, (least, most) in frames._PAYLOAD_BYTES.items():
        for length in (least, most):
            assert frames.unpack_header(frames.pack_header(kind, 7, length)) == (length, kind, 7)
        for length in {least - 1, most + 1, 2**32 - 1} - {-1}:
            with pytest.raises(WireError, match="frame_size"):
                frames.unpack_header(frames.pack_header(kind, 7, length))


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=frames.HEADER_BYTES, max_size=frames.HEADER_BYTES))
def test_any_header_is_a_frame_within_bounds_or_refused(raw: bytes) -> None:
    try:
        length, kind, _ = frames.unpack_header(raw)
    except WireError as error:
        assert error.reason in ("frame_kind", "frame_size")
    else:
        assert length <= limits.FRAME_MAX_BYTES and kind in frames._PAYLOAD_BYTES


def test_a_want_is_a_whole_number_of_cids() -> None:
    cid = bytes(range(36))
    assert frames.split_cids(cid + cid) == [cid, cid]
    for payload in (b"", cid[:-1], cid + b"\x00"):
        with pytest.raises(WireError, match="want"):
            frames.split_cids(payload)


def test_the_longest_of_each_control_payload_fits_its_frame() -> None:
    claim = frames.ClaimBody(bytes(limits.CLAIM_MAX_BYTES), limits.TTL_MAX_S)
    hold = frames.HoldBody(bytes(36), 2, limits.CONTENT_MAX_BYTES, [claim] * limits.CLAIMS_PER_HOLD_MAX)
    version = frames.VersionBody(
        limits.SEQUENCE_MAX, bytes(32), bytes(8), bytes(36), limits.CONTENT_MAX_BYTES, deleted=True, conflict=True
    )
    assert len(encode(hold)) <= limits.HOLD_MAX_BYTES
    assert len(encode([version] * limits.VERSIONS_MAX)) <= limits.HISTORY_MAX_BYTES

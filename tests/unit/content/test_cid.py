import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.content.block import BLOCK_MAX_BYTES, check, dag_pb_block, raw_block
from peerd.content.cid import DAG_PB, RAW, Cid, is_foreign_cid, looks_like_cid
from peerd.errors import UsageError, WireError

cids = st.builds(Cid, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
EMPTY_DIRECTORY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


def in_base(raw: bytes, alphabet: str) -> str:
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, len(alphabet))
        text = alphabet[digit] + text
    return text


@given(cids)
def test_a_cid_survives_its_text_and_its_bytes(cid: Cid) -> None:
    assert Cid.parse(cid.text) == cid
    assert Cid.from_bytes(cid.to_bytes()) == cid
    assert looks_like_cid(cid.text)
    assert cid.text.startswith("bafkrei" if cid.codec == RAW else "bafybei")
    assert len(cid.text) == 59


@given(cids)
def test_other_bases_name_the_same_cid(cid: Cid) -> None:
    assert Cid.parse("z" + in_base(cid.to_bytes(), BASE58)) == cid
    assert Cid.parse("k" + in_base(cid.to_bytes(), "0123456789abcdefghijklmnopqrstuvwxyz")) == cid
    assert Cid.parse("f" + cid.to_bytes().hex()) == Cid.parse("F" + cid.to_bytes().hex().upper()) == cid
    assert Cid.parse(cid.text.upper()) == cid


def test_a_cid_of_version_0_names_its_dag_pb_block() -> None:
    assert Cid.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn").text == EMPTY_DIRECTORY


def of(raw: bytes) -> str:
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


DIGEST = hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "k",
        "z",
        "Qm",
        EMPTY_DIRECTORY[0] + EMPTY_DIRECTORY[1:].upper(),
        EMPTY_DIRECTORY[:-1],
        EMPTY_DIRECTORY + "a",
        EMPTY_DIRECTORY[:-1] + "5",  # stray bits in the last letter
        EMPTY_DIRECTORY + "=",
        " " + EMPTY_DIRECTORY,
        EMPTY_DIRECTORY + "\n",
        EMPTY_DIRECTORY.replace("a", "\u0430"),
        "Qm" + "1" * 44,
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N0",
        of(b"\x01\x71\x12\x20" + DIGEST),  # dag-cbor
        of(b"\x01\x55\x13\x20" + DIGEST),  # another hash
        of(b"\x01\x55\x12\x1f" + DIGEST[1:]),
        of(b"\x02\x55\x12\x20" + DIGEST),
        of(b"\x81\x00\x55\x12\x20" + DIGEST),
        of(b"\x01\x55\x00\x05hello"),  # identity
        "k" + "z" * 10_000,
        "z" * 128,
        "sha256:" + "0" * 64,
        "notes/today",
    ],
)
def test_other_texts_are_no_cids(text: str) -> None:
    assert not looks_like_cid(text)
    with pytest.raises(UsageError):
        Cid.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        of(b"\x01\x71\x12\x20" + DIGEST),  # dag-cbor
        of(b"\x01\x55\x13\x40" + DIGEST * 2),  # sha2-512
        of(b"\x01\x55\xa0\xe4\x02\x20" + DIGEST),  # blake2b-256
        of(b"\x01\x55\x12\x1f" + DIGEST[1:]),
        of(b"\x01\x55\x00\x05hello"),  # identity
        of(b"\x01\x55\x00\x00"),
        of(b"\x01\x55\x00\x7f" + b"x" * 127),
        "F" + (b"\x01\x71\x12\x20" + DIGEST).hex().upper(),
    ],
)
def test_content_ids_of_other_kinds_are_known_as_such(text: str) -> None:
    assert is_foreign_cid(text) and not looks_like_cid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        EMPTY_DIRECTORY,
        EMPTY_DIRECTORY + "a",
        of(b"\x02\x55\x12\x20" + DIGEST),
        of(b"\x01\x55\x12\x21" + DIGEST),
        of(b"\x01\x55\x12\x04" + DIGEST[:4]),  # any word might be one
        of(b"\x01" + b"\xff" * 40),
        "f01550000",
        "bag",
        "build",
        "kernel",
        "z" * 255,
        "notes/today",
    ],
)
def test_words_are_no_content_ids(text: str) -> None:
    assert not is_foreign_cid(text)


def test_a_long_text_takes_no_time() -> None:
    start = time.process_time()
    assert not looks_like_cid("z" * 200_000) and not is_foreign_cid("z" * 200_000)
    assert time.process_time() - start < 0.05


@given(st.text(max_size=70) | st.text("bkzQmafyei234567", max_size=70))
def test_looks_like_a_cid_is_true_exactly_where_parse_takes_it(text: str) -> None:
    try:
        Cid.parse(text)
    except UsageError:
        assert not looks_like_cid(text)
    else:
        assert looks_like_cid(text)


@given(st.binary(max_size=80))
def test_other_bytes_are_a_wire_error(raw: bytes) -> None:
    with pytest.raises(WireError):
        Cid.from_bytes(raw)
    with pytest.raises(WireError):
        Cid.from_bytes(b"\x01\x55\x12\x20" + DIGEST + raw[:1] + b"x")


def test_a_block_is_what_its_cid_says() -> None:
    block = raw_block(b"data")
    assert check(block.cid, b"data")
    assert check(dag_pb_block(b"data").cid, memoryview(b"data"))
    assert not check(block.cid, b"date")
    large = bytes(BLOCK_MAX_BYTES + 1)
    assert not check(raw_block(large).cid, large)
    assert check(raw_block(large[1:]).cid, large[1:])

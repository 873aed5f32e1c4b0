"""What may be a key, and what a target means (INTERFACE.md)."""

from types import SimpleNamespace
from typing import cast

import pytest

from peerd.content.block import raw_block
from peerd.content.cid import Cid
from peerd.errors import NotAuthorisedError, UsageError
from peerd.identity import STAND_IN, Identity
from peerd.ids import NetworkId, name_key, peer_id_text
from peerd.node.core import Core
from peerd.node.names import Digest, Name, removable_name, target_of, writable_name

NETWORK = NetworkId(bytes(32))
ALICE = Identity(STAND_IN.signing_key(b"alice"), NETWORK, STAND_IN)
BOB = Identity(STAND_IN.signing_key(b"bob"), NETWORK, STAND_IN)
ALICE_TEXT, BOB_TEXT = peer_id_text(ALICE.peer), peer_id_text(BOB.peer)
CORE = cast(Core, SimpleNamespace(identity=ALICE, peer=ALICE.peer))
CID = raw_block(b"hello").cid
DAG_CBOR = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"

GOOD_NAMES = [
    "a",
    "a/b/c",
    "releases/v1.0.tar.gz",
    "/leading",
    "trailing/",
    " ",
    "Iñtërnâtiônàlizætiøn",
    "日本語/ファイル",
    "עברית",
    "👩‍👩‍👧",
    "x" * 255,
    "é" * 127,
    "sha256",
    "a@b",
    ALICE_TEXT,
    ALICE_TEXT[:-1] + "/a",
    ALICE_TEXT.upper() + "/a",
    "bafkrei",
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_any_text_of_1_to_255_bytes_is_a_key_and_reads_back_as_itself(name: str) -> None:
    written = writable_name(CORE, name, own=False)
    assert (written.key, written.text, written.owner) == (name_key(NETWORK, name), name, None)
    assert target_of(CORE, name) == written
    assert written.shown == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 256,
        "é" * 128,
        "\ud800",
        CID.text,
        CID.text.upper(),
        DAG_CBOR,
        f"{BOB_TEXT}/a",
        f"{ALICE_TEXT}/a",
        f"{BOB_TEXT}/",
        "sha256:00",
        "@bob/a",
        "@",
    ],
)
def test_what_could_be_something_else_is_no_shared_key(name: str) -> None:
    with pytest.raises(UsageError):
        writable_name(CORE, name, own=False)


@pytest.mark.parametrize("target", ["", "x" * 256, "\ud800", "sha256:00", "@bob/a", f"{BOB_TEXT}/", DAG_CBOR])
def test_what_names_nothing_is_refused_for_reading(target: str) -> None:
    with pytest.raises(UsageError):
        target_of(CORE, target)


def test_what_is_no_digest_is_told_apart_from_a_digest() -> None:
    found = target_of(CORE, f"sha256:{'0aF1' * 16}")
    assert isinstance(found, Digest) and found.text == f"sha256:{'0af1' * 16}"
    for target in ("sha256:zz", "sha256:", f"sha256:{'0' * 63}", f"sha256:{'0' * 65}", f"sha256:{'٣' * 64}"):
        with pytest.raises(UsageError, match=f"not a digest: '{target}'"):
            target_of(CORE, target)


def test_every_spelling_of_a_cid_is_content() -> None:
    assert target_of(CORE, CID.text) == CID
    old = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"
    found = target_of(CORE, old)
    assert isinstance(found, Cid)
    with pytest.raises(UsageError):
        writable_name(CORE, old, own=False)


def test_a_peers_own_name_is_another_key_than_the_shared_one() -> None:
    own = writable_name(CORE, "a", own=True)
    assert own == Name(name_key(NETWORK, "a", ALICE.peer), "a", ALICE.peer)
    assert own.key != writable_name(CORE, "a", own=False).key
    assert own.shown == f"{ALICE_TEXT}/a"
    assert target_of(CORE, own.shown) == own


def test_ones_own_id_before_an_own_name_is_not_said_twice() -> None:
    assert writable_name(CORE, f"{ALICE_TEXT}/a", own=True) == writable_name(CORE, "a", own=True)


def test_an_own_name_may_look_like_anything() -> None:
    assert writable_name(CORE, CID.text, own=True).text == CID.text
    assert target_of(CORE, DAG_CBOR, own=True) == writable_name(CORE, DAG_CBOR, own=True)
    assert writable_name(CORE, "@x", own=True).text == "@x"


@pytest.mark.parametrize("name", [f"{BOB_TEXT}/{'x' * 255}", f"{BOB_TEXT}/{'x' * 203}", f"{ALICE_TEXT}/{'x' * 256}"])
def test_an_own_name_is_no_longer_than_255_bytes_whatever_it_looks_like(name: str) -> None:
    with pytest.raises(UsageError):
        writable_name(CORE, name, own=True)


def test_anothers_own_name_can_be_read_with_all_its_255_bytes() -> None:
    found = target_of(CORE, f"{BOB_TEXT}/{'x' * 255}")
    assert found == Name(name_key(NETWORK, "x" * 255, BOB.peer), "x" * 255, BOB.peer)
    with pytest.raises(UsageError):
        target_of(CORE, f"{BOB_TEXT}/{'x' * 256}")


def test_only_its_owner_deletes_an_own_name() -> None:
    assert removable_name(CORE, f"{ALICE_TEXT}/a", own=False) == writable_name(CORE, "a", own=True)
    with pytest.raises(NotAuthorisedError):
        removable_name(CORE, f"{BOB_TEXT}/a", own=False)

"""Sound bytes to begin with: the vectors of the protocol, and small things made here for what has no vectors."""

import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from peerd.content.block import raw_block
from peerd.content.build import DirectoryBuilder, FileBuilder
from peerd.content.cid import Cid
from peerd.content.hamt import build_shards
from peerd.content.protobuf import varint
from peerd.io import sealed_identity as sealed_identity_of
from peerd.wire import frames
from tests.vectors.cast import identity

VECTORS = Path(__file__).parents[1] / "vectors"
ENTRIES_IN_SHARD = 40


@cache
def _read(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def datagrams(kind: str | None = None) -> tuple[bytes, ...]:
    """The datagrams of one kind, or all."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("datagrams") if kind in (None, each["kind"]))


def messages() -> tuple[bytes, ...]:
    """What sealed datagrams hold, in the clear."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("messages"))


def frame_headers() -> tuple[bytes, ...]:
    """The first nine bytes of each frame."""
    return tuple(bytes.fromhex(each["bytes"])[: frames.HEADER_BYTES] for each in _read("frames")["frames"])


def payloads(kind: int) -> tuple[bytes, ...]:
    """What frames of one kind carry."""
    whole = (bytes.fromhex(each["bytes"]) for each in _read("frames")["frames"] if each["kind"] == kind)
    return tuple(raw[frames.HEADER_BYTES :] for raw in whole)


def statements(kind: str) -> tuple[bytes, ...]:
    """Signed statements of one kind."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("statements") if each["kind"] == kind)


def evidence() -> tuple[bytes, ...]:
    """What convicts somebody, a piece of each kind."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("evidence"))


def rejected(*what: str) -> tuple[bytes, ...]:
    """What every implementation refuses: good to go on from, since it is wrong in one place only."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("rejected") if each["what"] in what)


def contacts() -> tuple[bytes, ...]:
    """Lists of contacts."""
    return tuple(bytes.fromhex(each["bytes"]) for each in _read("contacts"))


@cache
def nodes() -> tuple[bytes, ...]:
    """Blocks of dag-pb: a file's node, a directory, a symbolic link in one, shards."""
    file = FileBuilder()
    blocks = file.feed(bytes(3 * 2**20))
    last, node = file.finish()
    blocks += last
    folder = DirectoryBuilder()
    folder.add("a/b.txt", node)
    folder.add("größer.txt", node)
    folder.add_symlink("a/link", "../größer.txt")
    blocks += folder.finish()[0]
    entries = ((f"entry {number}".encode(), node.cid, 10) for number in range(ENTRIES_IN_SHARD))
    blocks += build_shards(entries)[0]
    return tuple(dict.fromkeys(block.data for block in blocks if block.cid.codec != "raw" and len(block.data) < 4096))


@cache
def cars() -> tuple[bytes, ...]:
    """CAR files of both versions, with two blocks."""
    leaf = raw_block(b"leaf")
    builder = FileBuilder()
    file = [*builder.feed(bytes(300)), *builder.finish()[0]][-1]
    link = b"\xd8\x2a\x58\x25\0" + leaf.cid.to_bytes()
    header = b"\xa2eroots\x81" + link + b"gversion\x01"
    sections = (each.cid.to_bytes() + each.data for each in (leaf, file))
    one = b"".join(varint(len(part)) + part for part in (header, *sections))
    numbers = b"".join(number.to_bytes(8, "little") for number in (51, len(one), 0))
    return one, b"\x0a\xa1gversion\x02" + bytes(16) + numbers + one


def cids() -> tuple[bytes, ...]:
    """CIDs as they travel, 36 bytes."""
    return tuple(dict.fromkeys(payload[:36] for payload in payloads(frames.MISSING)))


def cid_texts() -> tuple[bytes, ...]:
    """CIDs as people write them."""
    text = Cid.from_bytes(cids()[0]).text
    others = (
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "k2jmtxu1ggwjdy8nbzxzqvdfkqzmtw0vkd8cl6m0i6r6u3gpoy4hi9wf",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
    )
    return tuple(each.encode() for each in (text, *others))


def peer_texts() -> tuple[bytes, ...]:
    """Peer ids as people write them."""
    return tuple(each["text"].encode() for each in _read("ids")["peers"])


@cache
def tars() -> tuple[bytes, ...]:
    """Tar streams: PAX with long and foreign names, and the kinds that a directory has."""
    made = []
    for form in (tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w", format=form) as tar:
            folder = tarfile.TarInfo("folder")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            file = tarfile.TarInfo("folder/" + ("ä" if form == tarfile.PAX_FORMAT else "a") * 60)
            file.size = 700
            tar.addfile(file, io.BytesIO(bytes(700)))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "folder"
            tar.addfile(link)
        made.append(whole.getvalue()[:8192])
    return tuple(made)


def network() -> bytes:
    """The network of the vectors' statements."""
    return identity("alice").network


def sealed_identity() -> bytes:
    """A protected identity whose passphrase is `words` and costs little to try."""
    with patch.object(sealed_identity_of, "LOG_N", sealed_identity_of.LOG_N_RANGE[0]):
        return sealed_identity_of.seal(bytes(32), b"words", bytes)

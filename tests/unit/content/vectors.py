"""The vectors of tests/vectors/unixfs and the inputs that they describe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peerd.content.block import Block
from peerd.content.build import DirectoryBuilder, FileBuilder, Node
from peerd.content.limits import CHUNK_BYTES

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "unixfs" / "unixfs.json").read_text()
)
Entry = tuple[str] | tuple[str, int] | tuple[str, str]


def pattern(size: int) -> bytes:
    kilobytes = [k.to_bytes(4, "big") * 256 for k in range(-(-size // 1024))]
    return b"".join(kilobytes)[:size]


def file_bytes(vector: dict[str, Any]) -> Iterator[bytes]:
    """The vector's content in pieces."""
    if vector["content"] == "pattern":
        yield pattern(vector["size"])
        return
    chunk = bytes(CHUNK_BYTES)
    for _ in range(vector["size"] // CHUNK_BYTES):
        yield chunk


def file(data: bytes, **sizes: int) -> tuple[list[Block], Node]:
    builder = FileBuilder(**sizes)
    blocks = builder.feed(data)
    last, node = builder.finish()
    return blocks + last, node


def entries(vector: dict[str, Any]) -> list[list[Any]]:
    found: list[list[Any]] = list(vector.get("entries", []))
    if "numbered" in vector:
        count, digits, last = (vector["numbered"][key] for key in ("count", "digits", "last"))
        prefix = vector["within"] + "/" if "within" in vector else ""
        found += [[f"{prefix}{number:0{digits}}", 1] for number in range(count)]
        found += [["z" * last, 1]] if last else []
    return found


def directory(listed: list[list[Any]]) -> tuple[list[Block], Node]:
    builder = DirectoryBuilder()
    blocks: list[Block] = []
    for path, *what in listed:
        if not what:
            builder.add_directory(path)
        elif isinstance(what[0], str):
            builder.add_symlink(path, what[0])
        else:
            made, node = file(pattern(what[0]))
            blocks += made
            builder.add(path, node)
    made, node = builder.finish()
    return blocks + made, node

"""Held to Kubo's own answers (tests/vectors/unixfs/kubo.json)."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from peerd.content.build import DirectoryBuilder, FileBuilder
from peerd.content.limits import CHUNK_BYTES
from tests.unit.content.vectors import file

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "unixfs" / "kubo.json").read_text())
SLOW_BYTES = 100 * CHUNK_BYTES
LETTERS = "abcdefghijklmnopqrstuvwxyz01234567890-_"


def stream(seed: str, size: int) -> Iterator[bytes]:
    encryptor = Cipher(ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), mode=None).encryptor()
    zeros = memoryview(bytes(CHUNK_BYTES))
    for at in range(0, size, CHUNK_BYTES):
        yield encryptor.update(zeros[: size - at])


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vector, id=vector["name"], marks=[pytest.mark.slow] * (vector["size"] > SLOW_BYTES))
        for vector in VECTORS["files"]
    ],
)
def test_a_file_gets_the_cid_that_kubo_gives_it(vector: dict[str, Any]) -> None:
    builder = FileBuilder()
    for piece in stream(vector["seed"], vector["size"]):
        builder.feed(piece)
    assert builder.finish()[1].cid.text == vector["root"]


@pytest.mark.parametrize("vector", VECTORS["directories"], ids=lambda vector: str(vector["name"]))
def test_a_directory_gets_the_cid_that_kubo_gives_it(vector: dict[str, Any]) -> None:
    letters = iter(next(stream(vector["seed"], CHUNK_BYTES)))
    builder = DirectoryBuilder()
    _, node = file(b"x")
    for number in range(vector["count"]):
        length = vector["last"] if number == vector["count"] - 1 else vector["letters"]
        builder.add("".join(LETTERS[next(letters) % len(LETTERS)] for _ in range(length)), node)
    assert builder.finish()[1].cid.text == vector["root"]

"""The paths of build caches, and the keys of their entries. Pure.

An entry's key is that of a name which no user can write, as they cannot begin with @ (names). Content addressed paths
(`cas/DIGEST`, whatever stands before them: Bazel) are one entry for all, and what they hold proves itself.
"""

import hashlib
import re
from dataclasses import dataclass

from peerd.content.cid import RAW, Cid
from peerd.errors import UsageError
from peerd.ids import Key, NetworkId, name_key
from peerd.records.entry import CONTENT, INLINE, Entry

PREFIX = "@cache/"

PATH_MAX_BYTES = 1024
"""Longer than any build tool's path: what is hashed for a request is bounded."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_CAS = re.compile(r"(?:.*/)?cas/([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class EntryName:
    """What an entry is called; `digest` is the SHA-256 that its content must have, None where any will do."""

    text: str
    digest: bytes | None

    def key(self, network: NetworkId) -> Key:
        """Return the key under which the network knows it."""
        return name_key(network, PREFIX + self.text)

    def fits(self, entry: Entry) -> bool:
        """Return whether an entry may be what this name says, as far as that shows before it is read."""
        if self.digest is None:
            return True
        if entry.kind == INLINE:
            return hashlib.sha256(entry.value).digest() == self.digest
        if entry.kind == CONTENT:
            root = Cid.from_bytes(entry.value)
            # A file of one block is named by its own digest, as is its block.
            return root.codec != RAW or root.digest == self.digest
        return True


def parse_entry_path(path: str) -> EntryName:
    """Return the entry that a path names; raises UsageError for one that is too long or not plain."""
    if len(path.encode("utf-8", "surrogatepass")) > PATH_MAX_BYTES:
        raise UsageError(f"a path in a build cache is at most {PATH_MAX_BYTES} bytes")
    parts = path.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or _UNSAFE.search(path):
        raise UsageError("a path in a build cache has plain names between its slashes")
    text = "/".join(parts)
    match = _CAS.fullmatch(text)
    if match is None:
        return EntryName(text, None)
    return EntryName(f"cas/{match[1]}", bytes.fromhex(match[1]))

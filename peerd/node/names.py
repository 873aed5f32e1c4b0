"""What users may name: keys, peers' own keys, content ids. Says what a target is, and refuses what is none."""

import re
from dataclasses import dataclass

from peerd.content.cid import Cid, find_cid, is_foreign_cid, looks_like_cid
from peerd.errors import NotAuthorisedError, UsageError
from peerd.ids import NAME_MAX_BYTES, PEER_ID_TEXT_LENGTH, Key, PeerId, find_peer_id, name_key, peer_id_text
from peerd.node.core import Core

_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Name:
    """A name: its key, its text in the record, and whose own it is, if anybody's. `shown` is what users write."""

    key: Key
    text: str
    owner: PeerId | None

    @property
    def shown(self) -> str:
        """Return the name as users write it."""
        return f"{peer_id_text(self.owner)}/{self.text}" if self.owner is not None else self.text


@dataclass(frozen=True, slots=True)
class Digest:
    """A file by the plain SHA-256 of its bytes, 32 bytes."""

    digest: bytes

    @property
    def text(self) -> str:
        """Return the form in which users write it."""
        return f"sha256:{self.digest.hex()}"


def target_of(core: Core, target: str, *, own: bool = False) -> Name | Cid | Digest:
    """Return what `target` means for reading: a CID, a digest, a peer's own name, or a shared one.

    Raises UsageError for what can be neither.
    """
    _check_length(target)
    cid = find_cid(target)
    if cid is not None and not own:
        return cid
    if not own and is_foreign_cid(target):
        hint = "of content ids it keeps those of raw and dag-pb blocks under their sha2-256"
        raise UsageError(f"a content id of a codec or hash that peerd does not keep: {target[:80]!r}", hint=hint)
    if target.startswith("sha256:"):
        if not _DIGEST.fullmatch(target):
            hint = "no key begins with sha256:, and a digest is sha256: and 64 hexadecimal digits"
            raise UsageError(f"not a digest: {target[:80]!r}", hint=hint)
        return Digest(bytes.fromhex(target.partition(":")[2]))
    if target.startswith("@"):
        raise UsageError("members' names need a coordinator, which is not in this version")
    if own:
        return own_name(core, target)
    head, slash, rest = target.partition("/")
    owner = find_peer_id(head) if slash else None
    if owner is None:
        return shared_name(core, target)
    if not rest:
        raise UsageError("a peer's own name is PEER/KEY, and the key is missing")
    _check_text(rest)
    return Name(name_key(core.identity.network, rest, owner), rest, owner)


def writable_name(core: Core, name: str, *, own: bool) -> Name:
    """Return the name to write.

    Raises UsageError for one that cannot be a shared name, or is empty, too long or no text.
    """
    _check_length(name)
    if own:
        return own_name(core, name)
    if looks_like_cid(name) or is_foreign_cid(name):
        raise UsageError("a content id cannot be a key", hint="choose a name that is no CID")
    if name.startswith(("sha256:", "@")):
        raise UsageError(f"a key cannot begin with {name.partition(':')[0] if name[0] != '@' else '@'}")
    head, slash, _ = name.partition("/")
    if slash and find_peer_id(head) is not None:
        raise UsageError(
            "a key cannot begin with a peer id and /", hint="write a name of your own with --own and without the id"
        )
    return shared_name(core, name)


def removable_name(core: Core, target: str, *, own: bool) -> Name | Cid:
    """Return what to remove; raises NotAuthorisedError for another peer's own name."""
    found = target_of(core, target, own=own)
    if isinstance(found, Digest):
        raise UsageError("nothing is removed by its digest", hint="name the key, or the CID that `peer stat` shows")
    if isinstance(found, Name) and found.owner not in (None, core.peer):
        raise NotAuthorisedError("only its owner can delete that name")
    return found


def shared_name(core: Core, name: str) -> Name:
    """Return a name of the whole network."""
    return Name(name_key(core.identity.network, name), name, None)


def own_name(core: Core, name: str) -> Name:
    """Return a name of this peer's own."""
    prefix = peer_id_text(core.peer) + "/"
    text = name[len(prefix) :] if len(name) > PEER_ID_TEXT_LENGTH + 1 and name.startswith(prefix) else name
    _check_text(text)
    return Name(name_key(core.identity.network, text, core.peer), text, core.peer)


def _check_text(text: str) -> None:
    """Raise UsageError where the name without its owner is too long for a record."""
    if len(text.encode()) > NAME_MAX_BYTES:
        raise UsageError(f"a key is 1 to {NAME_MAX_BYTES} bytes, this one has {len(text.encode())}")


def _check_length(name: str) -> None:
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise UsageError("a key is text in UTF-8") from error
    most = NAME_MAX_BYTES + PEER_ID_TEXT_LENGTH + 1 if find_peer_id(name.partition("/")[0]) else NAME_MAX_BYTES
    if not 1 <= length <= most:
        raise UsageError(f"a key is 1 to {NAME_MAX_BYTES} bytes, this one has {length}")

"""The ids of the system and how each is derived: peer, place in the overlay, network, key.

Not here: signing (identity) and content ids (content.cid). A place is a salted hash of the peer's key, so that it
can only be ground key by key and only for one network (DESIGN.md 4; S/Kademlia 4.1 with the network id as salt).
"""

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import NewType

from peerd.errors import UsageError

PeerId = NewType("PeerId", bytes)
"""An Ed25519 public key, 32 bytes; shown in lower-case base32 without padding (52 letters)."""

NodeId = NewType("NodeId", bytes)
"""A peer's place in one overlay, 32 bytes."""

Key = NewType("Key", bytes)
"""What records are stored under, 32 bytes, in the same space as node ids."""

NetworkId = NewType("NetworkId", bytes)
"""Which overlay this is, 32 bytes; derived from the network's name and, where there is one, its secret."""

ID_BYTES = 32
ID_BITS = 8 * ID_BYTES
PEER_ID_TEXT_LENGTH = 52
NAME_MAX_BYTES = 255

SHOWN_CACHE_MAX = 4096
"""Ids whose text is remembered: each answer shows the same few."""

_TAG_NODE = b"peerd/1 node id\x00"
_TAG_NAME = b"peerd/1 name key\x00"
_TAG_OWN_NAME = b"peerd/1 own name key\x00"
_TAG_NETWORK = b"peerd/1 network id\x00"
_TAG_NETWORK_DIGEST = b"peerd/1 network digest\x00"

# RFC 7914: about 50 ms and 16 MiB, once at start. A secret may be a word that people chose, so guessing is made dear.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1


def node_id(network: NetworkId, peer: PeerId) -> NodeId:
    """Return the place of `peer` in the overlay of `network`."""
    return NodeId(hashlib.sha256(_TAG_NODE + network + peer).digest())


def name_key(network: NetworkId, name: str, owner: PeerId | None = None) -> Key:
    """Return the key of a name: shared by the network, or under the id of `owner`."""
    # Two tags: with one, an owner's key that is also text could stand for the beginning of a shared name.
    prefix = _TAG_NAME + network if owner is None else _TAG_OWN_NAME + network + owner
    return Key(hashlib.sha256(prefix + name.encode()).digest())


def network_id(name: str, secret: bytes | None = None) -> NetworkId:
    """Return the id of a network; another name or another secret is another network."""
    label = name.encode()
    if secret is None:
        return NetworkId(hashlib.sha256(_TAG_NETWORK + label).digest())
    salt = _TAG_NETWORK + label
    return NetworkId(hashlib.scrypt(secret, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=ID_BYTES))


def network_digest(network: NetworkId) -> str:
    """Return 16 hex letters that show who shares a network and nothing else about it."""
    return hashlib.sha256(_TAG_NETWORK_DIGEST + network).hexdigest()[:16]


def distance(a: bytes, b: bytes) -> int:
    """Return the XOR distance of two places or keys (Kademlia 2.1)."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


@lru_cache(maxsize=SHOWN_CACHE_MAX)
def peer_id_text(peer: PeerId) -> str:
    """Return the 52 lower-case base32 letters that people see."""
    return base64.b32encode(peer).decode().rstrip("=").lower()


def parse_peer_id(text: str) -> PeerId:
    """Return the peer that `text` names.

    Raises UsageError where it is not 52 canonical base32 letters.
    """
    peer = find_peer_id(text)
    if peer is None:
        raise UsageError(
            f"not a peer id: {text[:80]!r}", hint="a peer id is 52 letters and digits, as `peer id` prints it"
        )
    return peer


def find_peer_id(text: str) -> PeerId | None:
    """Return the peer that `text` names, or None where it has not the form of a peer id."""
    if len(text) != PEER_ID_TEXT_LENGTH or text != text.lower():
        return None
    try:
        raw = base64.b32decode(text.upper() + "====")
    except (binascii.Error, ValueError):
        return None
    peer = PeerId(raw)
    return peer if peer_id_text(peer) == text else None

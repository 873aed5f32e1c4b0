"""dag-pb: the node of a DAG as bytes, named links to other blocks and a field of data (ipld.io/specs/codecs/dag-pb).

Written links first, then data, as profile unixfs-v1-2025 wants; read in either order, since both are in use. What the
data means is in `unixfs`.
"""

from collections.abc import Iterable

from msgspec import Struct

from peerd.content.cid import CID_BYTES, CODECS, Cid, read_cid
from peerd.content.limits import LINKS_IN_BLOCK_MAX, SIZE_MAX
from peerd.content.protobuf import fields, read_varint, varint
from peerd.errors import WireError

_DATA, _LINKS = 1, 2  # fields of PBNode
_HASH, _NAME, _TSIZE = 1, 2, 3  # fields of PBLink
_HASH_FIELD = b"\x0a" + varint(CID_BYTES)
_CODEC_OF = {_HASH_FIELD + prefix: codec for prefix, codec in CODECS.items()}
_NAME_AT = len(_HASH_FIELD) + CID_BYTES
LINK_LEAST_BYTES = 2 + _NAME_AT + 4
"""A link in a node, its name aside."""

_SHORT_MAX = 0x7F


class Link(Struct, frozen=True, gc=False):
    """A link to another block; `tsize` is the size of all blocks from there on, as its writer says."""

    name: str
    cid: Cid
    tsize: int


def encode_link(cid: Cid, name: bytes, tsize: int) -> bytes:
    """Return a link as it stands in a node, its field's tag and length included."""
    link = b"".join((_HASH_FIELD, cid.to_bytes(), b"\x12", varint(len(name)), name, b"\x18", varint(tsize)))
    return b"\x12" + varint(len(link)) + link


def encode_node(links: Iterable[bytes], data: bytes) -> bytes:
    """Return the node of links made by `encode_link`, sorted by name by the caller, and of data."""
    return b"".join((*links, b"\x0a", varint(len(data)), data))


def decode_node(block: bytes) -> tuple[list[Link], bytes | None]:
    """Return the links and the data of a node.

    Raises WireError where it is not dag-pb: unknown or repeated fields, links apart from each other, a link without a
    CID that peerd keeps.
    """
    links: list[Link] = []
    data: bytes | None = None
    links_ended = False
    for number, value in fields(bytes(block)):  # a large one comes as a view
        if isinstance(value, int):
            raise WireError("dag_pb")
        if number == _LINKS and not links_ended:
            if len(links) == LINKS_IN_BLOCK_MAX:
                raise WireError("link_count")
            links.append(_decode_link(value))
        elif number == _DATA and data is None:
            data = value
            links_ended = bool(links)
        else:
            raise WireError("dag_pb")
    return links, data


def _decode_link(message: bytes) -> Link:
    return _decode_plain(message) or _decode_any(message)


def _decode_plain(message: bytes) -> Link | None:
    """Return a link as nearly all are: a CIDv1, a short name, a size. None of any other, and of what is malformed."""
    codec = _CODEC_OF.get(message[:6])
    if codec is None or len(message) < _NAME_AT + 4 or message[_NAME_AT] != 0x12 or message[_NAME_AT + 1] > _SHORT_MAX:
        return None
    name_ends = _NAME_AT + 2 + message[_NAME_AT + 1]
    if len(message) < name_ends + 2 or message[name_ends] != 0x18:
        return None
    name = message[_NAME_AT + 2 : name_ends]
    tsize, at = read_varint(message, name_ends + 1)
    if at != len(message) or tsize > SIZE_MAX or not name.isascii():
        return None
    return Link(name.decode(), Cid(codec, message[6:_NAME_AT]), tsize)


def _decode_any(message: bytes) -> Link:
    cid: Cid | None = None
    name = ""
    tsize = 0
    last = 0
    for number, value in fields(message):
        if number <= last:  # each at most once and in order, or one link has many spellings
            raise WireError("dag_pb")
        last = number
        if number == _HASH and isinstance(value, bytes):
            cid = read_cid(value)
        elif number == _NAME and isinstance(value, bytes):
            try:
                name = value.decode()
            except UnicodeDecodeError:
                raise WireError("dag_pb") from None
        elif number == _TSIZE and isinstance(value, int) and value <= SIZE_MAX:
            tsize = value
        else:
            raise WireError("dag_pb")
    if cid is None:
        raise WireError("dag_pb")
    return Link(name, cid, tsize)

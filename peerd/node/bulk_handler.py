"""What a bulk connection asks of the node, for the peer at its other end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from peerd.ids import PeerId
from peerd.node.limiting import Limits
from peerd.node.slots import Slots
from peerd.wire.frames import HoldBody

if TYPE_CHECKING:
    from peerd.node.bulk import BulkConnection


class SharingHandler(Protocol):
    """What the node does among those who share a root (node.sharing)."""

    @property
    def slots(self) -> Slots:
        """The turns in which large blocks are sent."""

    @property
    def limits(self) -> Limits:
        """The rates of content."""

    def heard(self, connection: "BulkConnection", kind: int, rid: int, payload: bytes) -> None:
        """Take a frame of frames.SHARING. Raises WireError."""

    def begins(self, connection: "BulkConnection", root: bytes, cid: bytes) -> bool:
        """A block begins to come; says whether to read it. Raises WireError where it may not come."""

    async def came(self, connection: "BulkConnection", root: bytes, cid: bytes, data: bytes) -> None:
        """A block came. Raises WireError where it is a wrong one."""

    def ended(self, connection: "BulkConnection") -> None:
        """A connection is over."""


class BulkHandler(Protocol):
    """What the node does for the other end of a connection."""

    @property
    def sharing(self) -> SharingHandler:
        """What is done among those who share a root."""

    async def block(self, cid: bytes) -> bytes | None:
        """Return a block kept here."""

    async def small_blocks(self, cids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return of these the small blocks kept here, by one look; of the rest `block` knows."""

    async def in_turn(self, peer: PeerId, cid: bytes) -> bool:
        """Return whether a peer is given a block now; not where very many want it and others have it by now."""

    async def hold(self, connection: "BulkConnection", body: HoldBody) -> bytes:
        """Take the content, and return the signed receipt once all of it is on disk."""

    async def answer(self, peer: PeerId, kind: int, payload: bytes) -> bytes:
        """Return the answer to a short question of a peer (a kind of frames.ANSWER_OF but HOLD).

        Raises WireError where it breaks the rules, RefusedError where it will not be answered.
        """

"""What a bulk connection asks of the node, for the peer at its other end."""

from typing import TYPE_CHECKING, Protocol

from peerd.ids import PeerId
from peerd.wire.frames import HoldBody

if TYPE_CHECKING:
    from peerd.node.bulk import BulkConnection


class BulkHandler(Protocol):
    """What the node does for the other end of a connection."""

    async def block(self, cid: bytes) -> bytes | None:
        """Return a block kept here."""

    async def hold(self, connection: "BulkConnection", body: HoldBody) -> bytes:
        """Take the content, and return the signed receipt once all of it is on disk."""

    async def answer(self, peer: PeerId, kind: int, payload: bytes) -> bytes:
        """Return the answer to a short question of a peer (a kind of frames.ANSWER_OF but HOLD).

        Raises WireError where it breaks the rules, RefusedError where it will not be answered.
        """

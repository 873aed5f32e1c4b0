"""What those who hear strangers for a peer (io/mdns) ask it and tell it: whom it knows, and what they refused."""

from peerd.ids import PeerId
from peerd.node.core import Core


class Strangers:
    """One running peer, as they see it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def knows(self, peer: PeerId) -> bool:
        """Whether that peer was met, now or in an earlier run."""
        return peer in self._core.members.all

    def refused(self, reason: str) -> None:
        """Show in the status that something was refused before it came here."""
        self._core.counts.rejected[reason] += 1

"""What members say of something that this peer cannot see: believed while at least half of those heard last say so."""

from collections import OrderedDict

from peerd.ids import PeerId

# Of a third that lie, 16 heard last are a majority once in a hundred times, and not for long: others are heard.
HEARD_MAX = 16


class Hearsay:
    """The last words of those heard last."""

    def __init__(self) -> None:
        self._words: OrderedDict[PeerId, bool] = OrderedDict()
        self.believed = False
        """Whether anybody says so, and no more say the contrary."""

    def say(self, peer: PeerId, *, yes: bool) -> None:
        """A member said so, or the contrary; only its last word counts."""
        self._words[peer] = yes
        self._words.move_to_end(peer)
        if len(self._words) > HEARD_MAX:
            self._words.popitem(last=False)
        self._count()

    def drop(self, peer: PeerId) -> None:
        """It is not there any more."""
        self._words.pop(peer, None)
        self._count()

    def __contains__(self, peer: PeerId) -> bool:
        """Return whether this member has said anything."""
        return peer in self._words

    def says(self, peer: PeerId) -> bool | None:
        """Return its last word, None where it has said nothing."""
        return self._words.get(peer)

    @property
    def count(self) -> int:
        """Return how many were heard."""
        return len(self._words)

    def _count(self) -> None:
        yes = sum(self._words.values())
        self.believed = yes > 0 and 2 * yes >= len(self._words)

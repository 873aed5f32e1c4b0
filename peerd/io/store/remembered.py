"""What a store remembers of a peer that lived."""

from typing import NamedTuple

from peerd.ids import PeerId


class RememberedPeer(NamedTuple):
    """A peer to try again after a restart; `last_seen` in the store's seconds (`now_s`).

    `lived_s` is for how long it has been known to live, all runs taken together.
    """

    peer: PeerId
    host: str
    port: int
    last_seen: float
    lived_s: float = 0.0

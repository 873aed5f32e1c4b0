"""Which versions were given to whom of late: who denies one again is not given it again with every read.

A holder that lacks a version is mended by the read that sees it. One that takes it, signs and denies it again would
have every read of every peer send it once more, and one that denies all keys each read of another key: so reads give a
few in a while, whoever seems to lack them. Repair, at its own pace, sees to who lost it truly.
"""

from collections import OrderedDict

from peerd.ids import PeerId

# Of more the longest ago are forgotten: then somebody is given a version once too often.
GIVEN_MAX = 8192
DIGEST_BYTES = 16
# How many a peer gives for its reads in a repair interval, and how many of them it may save up.
GIVEN_EACH = 8
SAVED_MAX = 4.0


class Given:
    """Who was given which version, and when."""

    def __init__(self) -> None:
        self._at: OrderedDict[tuple[PeerId, bytes], float] = OrderedDict()
        self._saved = SAVED_MAX
        self._saved_at = float("-inf")

    def affords(self, now: float, each_s: float) -> bool:
        """Return whether one more may be given for reads; if so it counts as given."""
        gained = (now - self._saved_at) * GIVEN_EACH / each_s
        self._saved, self._saved_at = min(SAVED_MAX, self._saved + gained), now
        if self._saved < 1:
            return False
        self._saved -= 1
        return True

    def may(self, peer: PeerId, digest: bytes, now: float, each_s: float) -> bool:
        """Return whether a peer may be given a version: it was not `each_s` ago. From now on it was."""
        key = peer, digest[:DIGEST_BYTES]
        at = self._at.get(key)
        if at is not None and at > now - each_s:
            return False
        self._at[key] = now
        self._at.move_to_end(key)
        if len(self._at) > GIVEN_MAX:
            self._at.popitem(last=False)
        return True

"""To whom repair gives nothing for now: who was silent to it of late, or took a version and has not shown it since.

A loss is made good soon the first times, whoever it is. Who is given the same again and again, or never answers, is
tried ever more rarely (exponential backoff): else a few that lie have all others send them their share in each round.
Its share still counts as missing. Reads have their own measure (given).
"""

from collections import OrderedDict
from dataclasses import dataclass

from peerd.ids import PeerId

# Each further pause is so many times as long.
FACTOR = 4.0
# After a Store without an answer nothing is given for so long at first, and at last: a peer that is there answers; one
# that was away and is met again is given its share at once.
SILENT_FIRST_S = 2.0
SILENT_MAX_S = 240.0
# The same version is given again after so long at first, and at last.
AGAIN_FIRST_S = 4.0
AGAIN_MAX_S = 3600.0
# Of more the longest ago are forgotten: then somebody is given a version once too often. Some 200 B each.
VERSIONS_MAX = 8192
PEERS_MAX = 1024
DIGEST_BYTES = 16


@dataclass(slots=True)
class _Pause:
    """Until when nothing is given, and how long the next pause is."""

    until: float
    next_s: float


class Backoff:
    """Who was given what by repair in vain, and until when it is not given it again."""

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[PeerId, bytes], _Pause] = OrderedDict()
        self._silent: OrderedDict[PeerId, _Pause] = OrderedDict()

    def is_silent(self, peer: PeerId, now: float) -> bool:
        """Return whether a peer did not answer of late, so that it is asked nothing now."""
        pause = self._silent.get(peer)
        return pause is not None and now < pause.until

    def may_give(self, peer: PeerId, digest: bytes, now: float) -> bool:
        """Return whether it is time to give a peer a version; if so it counts as given, and who was silent is on trial.

        Where it is left to another after all it counts as given too.
        """
        if self.is_silent(peer, now):
            return False
        key = peer, digest[:DIGEST_BYTES]
        pause = self._versions.get(key)
        if pause is not None and now < pause.until:
            return False
        pause_s = pause.next_s if pause is not None else AGAIN_FIRST_S
        self._versions[key] = _Pause(now + pause_s, min(FACTOR * pause_s, AGAIN_MAX_S))
        self._versions.move_to_end(key)
        if len(self._versions) > VERSIONS_MAX:
            self._versions.popitem(last=False)
        if peer in self._silent:
            self.silent(peer, now)  # one Store is enough to see whether it answers now
        return True

    def silent(self, peer: PeerId, now: float) -> None:
        """It has not answered; of several that went unanswered together one counts."""
        pause = self._silent.get(peer)
        if pause is not None and now < pause.until:
            return
        pause_s = pause.next_s if pause is not None else SILENT_FIRST_S
        self._silent[peer] = _Pause(now + pause_s, min(FACTOR * pause_s, SILENT_MAX_S))
        self._silent.move_to_end(peer)
        if len(self._silent) > PEERS_MAX:
            self._silent.popitem(last=False)

    def answered(self, peer: PeerId) -> None:
        """It has answered, or was met anew."""
        self._silent.pop(peer, None)

    def returned(self, peer: PeerId, now: float) -> None:
        """It answers again: if it did not take what it was given, one Store shows at once whether it does now."""
        if peer in self._silent:
            self._silent[peer] = _Pause(now, SILENT_FIRST_S)

    def shown(self, peer: PeerId, digest: bytes) -> None:
        """It has shown that it has a version."""
        self._versions.pop((peer, digest[:DIGEST_BYTES]), None)

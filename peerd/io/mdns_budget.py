"""What anybody on the LAN may cost us, by who speaks and in all: token buckets, and those of the speakers heard last.

Pure: no socket, no clock. A speaker is the address that a packet seems to come from; who forges many addresses is held
by the bound on all together. Not here: what a packet says (mdns_link) and what is believed of it (mdns_hints).
"""

from collections import OrderedDict
from collections.abc import Container

SPEAKERS_MAX = 64
"""Speakers whose budgets are remembered. Inventing more only makes each one new, within what all together may cost."""

PACKET_BYTES = 512
"""A packet costs one, and one more for each so many bytes: the dear thing is what must be taken apart."""

SPEAKER_BURST, SPEAKER_PER_S = 256.0, 32.0
"""Packets of one speaker: a peer that starts says some 15 costs' worth, afterwards hardly one a second."""

LINK_BURST, LINK_PER_S = 1024.0, 256.0
"""Packets of all on a link, but for where living members are: with it a flood takes some percent of a processor."""

LOOPBACK_TIMES = 8
"""On the loopback all daemons of a host are one speaker."""


class Budget:
    """A bucket that holds `burst` at most and is filled by `per_s`."""

    __slots__ = ("_at", "_left", "burst", "per_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self.burst = burst
        self.per_s = per_s
        self._left = burst
        self._at = 0.0

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` where there is so much; say whether there was."""
        self._left = min(self.burst, self._left + (now - self._at) * self.per_s)
        self._at = now
        if self._left < cost:
            return False
        self._left -= cost
        return True


class Speakers:
    """A budget of its own for each of the speakers heard last."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def __len__(self) -> int:
        return len(self._budgets)

    def spend(self, speaker: str, now: float, cost: float = 1.0) -> bool:
        """Take `cost` from the budget of `speaker`; say whether there was so much."""
        budget = self._budgets.get(speaker)
        if budget is None:
            budget = self._budgets[speaker] = Budget(self._burst, self._per_s)
            if len(self._budgets) > SPEAKERS_MAX:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(speaker)
        return budget.spend(now, cost)


class Allowance:
    """Which packets of a link are looked into at all."""

    def __init__(self, *, loopback: bool = False) -> None:
        times = LOOPBACK_TIMES if loopback else 1
        self.friends: Container[str] = ()
        """Addresses at which members live: a flood by others does not keep us from hearing them."""
        self._speakers = Speakers(SPEAKER_BURST * times, SPEAKER_PER_S * times)
        self._all = Budget(LINK_BURST * times, LINK_PER_S * times)

    def admits(self, size: int, speaker: str, now: float) -> bool:
        """Say whether a packet of `size` bytes is taken; it has its cost then."""
        cost = 1 + size / PACKET_BYTES
        return self._speakers.spend(speaker, now, cost) and (speaker in self.friends or self._all.spend(now, cost))

"""Others that run with this peer's key: a data directory that was copied, or a machine restored from an image.

Two peers of one id take each other's sessions, and answer for copies that only one of them has. Neither can know which
was meant to run, so both say so. Only a signature with the key itself counts, made for this run of this peer: what
anybody merely says of our id at another address warns nobody.
"""

from collections import OrderedDict
from dataclasses import dataclass

from peerd.config import HostPort
from peerd.kad.contact import Address
from peerd.node.core import Core
from peerd.node.joining import Joining
from peerd.node.lanes import Candidate

# One that has not shown itself for so long is gone; who is in sight of mDNS, or configured, does each minute or so.
TWIN_LIFE_S = 900.0
# Addresses remembered; whoever has the key may come from as many as it likes.
TWINS_MAX = 4


@dataclass(slots=True)
class _Twin:
    seen_at: float
    greeted_at: float


class Twins:
    """Where others with our key were, the last heard last."""

    def __init__(self, core: Core, joining: Joining) -> None:
        self._core = core
        self._joining = joining
        self._twins: OrderedDict[Address, _Twin] = OrderedDict()

    def noted(self, address: Address) -> None:
        """Somebody at `address` has our key. It is greeted, so that it knows as well: one of them may know no other."""
        now = self._core.now()
        twin = self._twins.setdefault(address, _Twin(now, float("-inf")))
        self._twins.move_to_end(address)
        twin.seen_at = now
        if twin.greeted_at < now - TWIN_LIFE_S / 2:
            twin.greeted_at = now
            self._joining.offer(Candidate(address, None, "overlay"))
        if len(self._twins) > TWINS_MAX:
            self._twins.popitem(last=False)

    def reason(self) -> str | None:
        """Return what is wrong, None where nobody else was seen lately."""
        oldest = self._core.now() - TWIN_LIFE_S
        while self._twins and next(iter(self._twins.values())).seen_at < oldest:
            self._twins.popitem(last=False)
        if not self._twins:
            return None
        where = ", ".join(HostPort(*address).text for address in self._twins)
        return (
            f"another peerd runs with this peer's identity at {where}: stop one, and let it make an identity of its own"
        )

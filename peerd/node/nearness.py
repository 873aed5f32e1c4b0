"""Whom to ask first of those that may have something: the nearest in time, and of those about as near one by chance.

So a crowd that asks for the same thing is spread over all that have it. Not here: measuring (roundtrips).
"""

import math
from collections.abc import Iterable

from peerd.kad.contact import Contact
from peerd.node.core import Core

# Round trips within so many times of each other are alike: more is told by chance and queues than by the way.
ALIKE_TIMES = 1.5
# Below this none is nearer: what a host takes to answer is more than that.
ALIKE_S = 0.002


def by_nearness(core: Core, contacts: Iterable[Contact]) -> list[Contact]:
    """Return contacts in the order in which they are to be asked; those never measured as those of the middle."""
    chosen = list(contacts)
    roundtrips = core.endpoint.roundtrips
    middle_s = roundtrips.median_s() or ALIKE_S
    took_s = [max(ALIKE_S, roundtrips.srtt_s(contact.peer) or middle_s) for contact in chosen]
    least_s = min(took_s, default=ALIKE_S)
    chance = core.environment.rng.random
    ranked = [(int(math.log(each / least_s, ALIKE_TIMES)), chance(), at) for at, each in enumerate(took_s)]
    return [chosen[at] for _, _, at in sorted(ranked)]

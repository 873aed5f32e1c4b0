"""Liars of several kinds in one peer: what colluders do together."""

import random
from collections.abc import Sequence

from tests.hostile import content, gossip, lookups, records, repair
from tests.hostile.base import Liar, Mix


class Colluding(Mix):
    """One lie in look-ups, one about records, one about blocks, one where copies are counted; half of them news too."""

    name = "colluding"

    def chosen(self, rng: random.Random) -> Sequence[type[Liar]]:
        kinds = (lookups.WAYS, records.WAYS, content.WAYS, repair.WAYS)
        parts = [rng.choice(ways) for ways in kinds]
        return [*parts, rng.choice(gossip.WAYS)] if rng.random() < 0.5 else parts

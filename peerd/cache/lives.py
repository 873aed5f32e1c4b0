"""How long a record may be cached, by where who caches it stands: less with the distance from the key (Kademlia 2.3).

Kademlia lets the life shrink exponentially with the number of peers between the one that caches and the one nearest to
the key, so that copies far off, which only a hot key needs, do not outlive its heat. Here it is halved with each bit of
distance beyond the place of who gave it, which is so many halvings of the peers between; never below a share of it,
because what changes is told at once (takers), and an end is only for what was not heard.
"""

LEAST_PART = 8
"""A cached record lives at least one part in so many of the longest life."""


def placed_life_s(most_s: float, own_distance: int, giver_distance: int) -> float:
    """Return for how long a peer at `own_distance` from the key caches what one at `giver_distance` gave it."""
    bits = max(0, own_distance.bit_length() - giver_distance.bit_length())
    return max(most_s / LEAST_PART, most_s / 2.0**bits)

"""How long ago it was shown that a key's value is the newest, where that cannot be shown now (`stale_since_s`).

A newer version is with a majority of the key's holders. While a majority of all that should hold it is heard, the
silent included until the grace of tombstones is over, what a read found is as fresh as it can be shown to be. Where
fewer are, somebody on the other side of a cut may have written since a majority was last heard: so long ago is what is
told. Being heard is to answer this read, or to be a member that answers. Not here: who should hold a key (vicinity).
"""

from collections.abc import Collection

from peerd.ids import Key, PeerId
from peerd.node.core import Core
from peerd.trust.quorum import ReadQuorum, majority


def unshown_s(core: Core, key: Key, quorum: ReadQuorum | None = None) -> float | None:
    """Return how long ago a majority of a key's holders was last heard, None where one is.

    `quorum` has who did and who did not answer just now. In a network that is not known whole that is all that is known
    of the holders.
    """
    answered, silent = (quorum.answered, quorum.silent) if quorum is not None else (frozenset(), frozenset())
    members = core.members
    expected = members.expected_holders(key) if members.complete else sorted({*answered, *silent})
    now = core.now()
    heard = sorted((_heard_at(core, peer, now, answered, silent) for peer in expected), reverse=True)
    if not heard:
        return None
    since = heard[majority(len(heard)) - 1]
    return round(now - since, 3) if since < now else None


def _heard_at(core: Core, peer: PeerId, now: float, answered: Collection[PeerId], silent: Collection[PeerId]) -> float:
    if peer == core.peer or peer in answered:
        return now
    member = core.members.all.get(peer)
    if member is None:
        return now  # it was never met: nobody says when it was heard
    # Where some are silent just now the others may have died with them, which is noticed later.
    if silent or member.state != "alive" or peer in core.members.doubted:
        return min(member.last_seen, now)
    return now

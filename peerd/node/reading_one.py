"""Reading by `one` without asking the holders: what is here, what is cached here, the first that a look-up finds."""

from peerd.ids import Key
from peerd.io.store.seen import Seen
from peerd.node.core import Core
from peerd.node.found import Reading
from peerd.node.freshness import unshown_s
from peerd.node.searching import search_for
from peerd.records.record import Record


async def read_one(core: Core, key: Key, own: Record | None, least: Seen | None, *, for_write: bool) -> Reading | None:
    """Return what a reader in haste takes, None where the holders, who are known, are to be asked.

    `own` is the record of our own store, `least` what was read before. A write takes nothing that is only cached.
    Raises TimedOutError.
    """
    # Who is no holder any more may have missed what came since.
    if own is not None and core.returning.confirmed(key) and core.members.responsible(key).ours:
        since_s = unshown_s(core, key)
        return Reading(own, local=True, hops=0, have=[core.peer], trace=[], stale_since_s=since_s)
    if own is not None and core.members.alive_count() == 0:
        stale_s = core.returning.unconfirmed_s
        return Reading(own, local=True, hops=0, have=[core.peer], trace=[], stale_since_s=stale_s)
    if not for_write and (cached := core.cached.find(key, least)) is not None:
        since_s = unshown_s(core, key)
        since_s = since_s if since_s is None else max(since_s, round(core.cached.age_s(key), 3))
        return Reading(cached, local=True, hops=0, have=[], trace=[], cached=True, stale_since_s=since_s)
    if core.members.complete:
        return None
    found = await search_for(core, key, least, cached=not for_write)
    if found.crowded:
        return None
    have = [found.holder] if found.holder is not None else []
    return Reading(found.record, local=False, hops=found.hops, have=have, trace=found.trace)

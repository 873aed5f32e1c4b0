"""How the daemon is, in the form that `peer status` shows."""

from peerd import __version__
from peerd.ids import peer_id_text
from peerd.io.store.interface import Usage
from peerd.node import results
from peerd.node.core import Core
from peerd.node.safety import Safety, may_fail, sentence


def status(
    core: Core, usage: Usage, safety: Safety | None, *, uptime_s: float, listen: str, degraded: list[str]
) -> results.Status:
    """Return the state of this peer, of what was counted of its store and of the copies elsewhere."""
    missing = max(len(core.missing_since), safety.broken if safety is not None else 0)
    now = core.now()
    tally = core.room.caching.tally
    lag_s = max(0.0, now - min(core.missing_since.values(), default=now))
    return results.Status(
        id=peer_id_text(core.peer),
        network=core.settings.network,
        version=__version__,
        uptime_s=round(uptime_s, 3),
        listen=listen,
        contacts=core.members.alive_count(),
        records=usage.records,
        blobs=usage.blobs,
        storage=results.Storage(
            used_bytes=usage.used_bytes,
            quota_bytes=usage.quota_bytes,
            pinned_bytes=usage.pinned_bytes,
            replica_bytes=usage.replica_bytes + usage.own_bytes,
            cache_bytes=usage.cache_bytes,
        ),
        cache=results.CacheCounts(
            hits=core.counts.cache_hits,
            misses=core.counts.cache_misses,
            kept=tally.kept,
            declined=tally.declined,
            evicted=tally.evicted,
            records=len(core.cached),
        ),
        repair=results.Repair(missing_copies=missing, lag_s=round(lag_s, 3), may_fail=may_fail(safety)),
        rejected=dict(core.endpoint.counts.rejected + core.counts.rejected),
        degraded=degraded,
        health=sentence(safety, missing=missing, others=core.members.alive_count(), degraded=degraded),
        coordinators=[],
        trust=results.TrustCounts(**core.trust.counts()),
    )

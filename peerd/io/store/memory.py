"""The store in memory: the same promises and bounds as on disk, without threads, for simulation and benchmarks.

Deterministic: no hash order shows, nothing waits unless `sync_delay` says so. A change takes effect when its sync is
over, so `crash()` in between loses it, as a power cut would. Here are provider records, remembered peers and usage; the
other calls are in `memory_records`, `memory_floors` and `memory_content`.
"""

import bisect
from collections.abc import Callable, Sequence

from peerd.clock import Clock, Entropy
from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.interface import Usage
from peerd.io.store.memory_content import MemoryContent
from peerd.io.store.memory_digests import MemoryDigests
from peerd.io.store.memory_entries import MemoryEntries
from peerd.io.store.memory_evidence import MemoryEvidence
from peerd.io.store.memory_floors import MemoryFloors
from peerd.io.store.memory_seen import MemorySeen
from peerd.io.store.remembered import RememberedPeer


class MemoryStore(MemoryFloors, MemorySeen, MemoryDigests, MemoryContent, MemoryEvidence, MemoryEntries):
    """See `Store`; `sync_delay` gives the seconds of each sync, `fault` is called with each operation and may raise."""

    def __init__(
        self,
        quota_bytes: int,
        entropy: Entropy,
        clock: Clock,
        *,
        sync_delay: Callable[[], float] | None = None,
        fault: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(quota_bytes, entropy, clock, sync_delay=sync_delay, fault=fault)
        self._providers: dict[Key, dict[PeerId, tuple[float, bytes]]] = {}
        self._provider_ends: list[tuple[float, Key, PeerId]] = []
        self._peers: dict[PeerId, RememberedPeer] = {}
        self._forgotten_peers: dict[bytes, PeerId] = {}
        self._revoked: dict[PeerId, tuple[bytes, bool]] = {}

    async def put_provider(self, key: Key, peer: PeerId, statement: bytes, expires: float) -> None:
        """See `Store.put_provider`."""
        await self._sync("put_provider")
        before = self._providers.get(key, {}).get(peer)
        cost = len(statement) - len(before[1]) if before else len(statement) + bounds.PROVIDER_ROW_BYTES
        self._require_room(cost, reserve=True)
        self._drop_provider(key, peer)
        kept = self._providers.setdefault(key, {})
        kept[peer] = (expires, statement)
        self._metadata_bytes += len(statement) + bounds.PROVIDER_ROW_BYTES
        bisect.insort(self._provider_ends, (expires, key, peer))
        if len(kept) > bounds.PROVIDERS_PER_KEY_MAX:
            self._drop_provider(key, min(kept, key=lambda one: (kept[one][0], one)))
        most = bounds.providers_max(self.quota_bytes)
        if len(self._provider_ends) > most:
            own = [end for end in self._provider_ends if end[2] == peer]
            first = own[0] if len(own) > max(1, most // bounds.PROVIDERS_PART) else self._provider_ends[0]
            self._drop_provider(*first[1:])

    def _drop_provider(self, key: Key, peer: PeerId) -> None:
        kept = self._providers.get(key, {})
        before = kept.pop(peer, None)
        if before is None:
            return
        self._metadata_bytes -= len(before[1]) + bounds.PROVIDER_ROW_BYTES
        del self._provider_ends[bisect.bisect_left(self._provider_ends, (before[0], key, peer))]
        if not kept:
            del self._providers[key]

    async def providers(self, key: Key, now: float) -> list[bytes]:
        """See `Store.providers`."""
        self._check("providers")
        live = [
            (expires, peer, said) for peer, (expires, said) in self._providers.get(key, {}).items() if expires > now
        ]
        return [said for _, _, said in sorted(live, reverse=True)]

    async def drop_providers(self, now: float, limit: int) -> int:
        """See `Store.drop_providers`."""
        await self._sync("drop_providers")
        ended = [end for end in self._provider_ends[:limit] if end[0] <= now]
        for _, key, peer in ended:
            self._drop_provider(key, peer)
        return len(ended)

    async def remember_peers(self, peers: Sequence[RememberedPeer]) -> None:
        """See `Store.remember_peers`."""
        await self._sync("remember_peers")
        merged = dict(self._peers)
        for peer in (RememberedPeer(*each) for each in peers):
            known = merged.get(peer.peer, peer)
            merged[peer.peer] = peer._replace(lived_s=max(peer.lived_s, known.lived_s))
        if len(merged) > bounds.PEERS_MAX:
            longest = {one.peer for one in sorted(merged.values(), key=_by_life)[: bounds.PEERS_MAX // 2]}
            others = sorted((one for one in merged.values() if one.peer not in longest), key=_by_sight)
            kept = longest | {one.peer for one in others[: bounds.PEERS_MAX - bounds.PEERS_MAX // 2]}
            merged = {peer: one for peer, one in merged.items() if peer in kept}
        self._charge((len(merged) - len(self._peers)) * bounds.PEER_ROW_BYTES, reserve=True)
        self._peers = {one.peer: one for one in sorted(merged.values(), key=_by_sight)}

    async def remembered_peers(self, limit: int) -> list[RememberedPeer]:
        """See `Store.remembered_peers`."""
        self._check("remembered_peers")
        return list(self._peers.values())[:limit]

    async def anchors(self, limit: int) -> list[RememberedPeer]:
        """See `Store.anchors`."""
        self._check("remembered_peers")
        return sorted(self._peers.values(), key=_by_life)[:limit]

    async def note_forgotten(self, peer: PeerId, notice: bytes | None) -> None:
        """See `Store.note_forgotten`."""
        await self._sync("note_forgotten")
        if notice is None:
            for known in [known for known, about in self._forgotten_peers.items() if about == peer]:
                del self._forgotten_peers[known]
                self._metadata_bytes -= bounds.FORGOTTEN_ROW_BYTES
            return
        if notice in self._forgotten_peers:
            return
        self._charge(bounds.FORGOTTEN_ROW_BYTES, reserve=True)
        self._forgotten_peers[notice] = peer
        if len(self._forgotten_peers) > bounds.FORGOTTEN_MAX:
            del self._forgotten_peers[next(iter(self._forgotten_peers))]
            self._metadata_bytes -= bounds.FORGOTTEN_ROW_BYTES

    async def forgotten(self) -> list[bytes]:
        """See `Store.forgotten`."""
        self._check("forgotten")
        return list(self._forgotten_peers)

    async def put_revocation(self, peer: PeerId, statement: bytes, *, known: bool) -> None:
        """See `Store.put_revocation`."""
        await self._sync("put_revocation")
        if peer not in self._revoked:
            self._charge(bounds.REVOKED_ROW_BYTES, reserve=True)
            self._revoked[peer] = (statement, known)

    async def revocations(self) -> list[tuple[bytes, bool]]:
        """See `Store.revocations`."""
        self._check("revocations")
        return [said for _, said in sorted(self._revoked.items())]

    async def usage(self) -> Usage:
        """See `Store.usage`."""
        self._check("usage")
        return Usage(
            used_bytes=self._used(),
            quota_bytes=self.quota_bytes,
            pinned_bytes=self._class_bytes[bounds.CLASS_RANK["pinned"]],
            own_bytes=self._class_bytes[bounds.CLASS_RANK["own"]],
            replica_bytes=self._class_bytes[bounds.CLASS_RANK["replica"]],
            cache_bytes=self._class_bytes[bounds.CLASS_RANK["cache"]],
            records=len(self._records),
            blobs=len(self._roots),
            rotten=0,
        )


def _by_sight(one: RememberedPeer) -> tuple[float, PeerId]:
    return -one.last_seen, one.peer


def _by_life(one: RememberedPeer) -> tuple[float, float, PeerId]:
    return -one.lived_s, -one.last_seen, one.peer

"""The store in memory: the same promises and bounds as on disk, without threads, for simulation and benchmarks.

Deterministic: no hash order shows, nothing waits unless `sync_delay` says so. A change takes effect when its sync is
over, so `crash()` in between loses it, as a power cut would.
"""

import asyncio
import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from peerd.clock import Clock, Entropy
from peerd.content.block import Block
from peerd.content.cid import Cid
from peerd.errors import NoRoomError, StoreError
from peerd.ids import Key, PeerId
from peerd.io.store import bounds
from peerd.io.store.interface import ANY, Anything, HistoryRow, RecordRow, RememberedPeer, Root, Usage, unknown_root


@dataclass(slots=True)
class _Block:
    """A block or the place for one: `data` is None where it is only linked."""

    data: bytes | None = None
    roots: dict[bytes, None] = field(default_factory=dict)
    put_at: float = 0.0
    rank: int = bounds.RANK_UNLINKED


@dataclass(slots=True)
class _Kept:
    """A root and the blocks it links."""

    root: Root
    blocks: dict[bytes, None] = field(default_factory=dict)


class MemoryStore:
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
        self.store_id = entropy(bounds.STORE_ID_BYTES)
        self.quota_bytes = quota_bytes
        self.sync_delay = sync_delay
        self.fault = fault
        self._clock = clock
        self._closed = False
        self._crashes = 0
        self._metadata_bytes = 0
        self._class_bytes = [0] * (bounds.RANK_MAX + 1)
        self._records: dict[Key, tuple[bytes, RecordRow]] = {}
        self._keys: list[Key] = []
        self._by_cid: dict[bytes, dict[Key, None]] = {}
        self._history: dict[Key, list[HistoryRow]] = {}
        self._sequences: dict[Key, int] = {}
        self._blocks: dict[bytes, _Block] = {}
        self._roots: dict[bytes, _Kept] = {}
        self._claims: dict[bytes, dict[bytes, None]] = {}
        self._providers: dict[Key, dict[PeerId, tuple[float, bytes]]] = {}
        self._provider_ends: list[tuple[float, Key, PeerId]] = []
        self._peers: dict[PeerId, RememberedPeer] = {}
        self._restarted_at = clock.monotonic()

    # Crash and close

    def crash(self) -> None:
        """Lose what is not synced yet; the store is then as a restart finds it."""
        self._crashes += 1
        self.reopen()

    def reopen(self) -> None:
        """Take calls again after `close` or a crash, with what was durable."""
        self._closed = False
        self._restarted_at = self._clock.monotonic()

    async def close(self) -> None:
        """See `Store.close`; `reopen` makes it usable again."""
        self._closed = True

    def _check(self, operation: str) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if self.fault is not None:
            self.fault(operation)

    async def _sync(self, operation: str) -> None:
        """Wait for the disk; what follows in the caller is the change itself and must not wait."""
        self._check(operation)
        if self.sync_delay is None:
            return
        crashes = self._crashes
        await asyncio.sleep(self.sync_delay())
        if crashes != self._crashes:
            raise StoreError("the host crashed before this was synced")

    # Room

    def _charge(self, cost: int, *, reserve: bool) -> None:
        """Add `cost` to the rows' bytes; raises NoRoomError where it would not fit."""
        self._require_room(cost, reserve=reserve)
        self._metadata_bytes += cost

    def _require_room(self, cost: int, *, reserve: bool) -> None:
        limit = self.quota_bytes + (bounds.reserve_bytes(self.quota_bytes) if reserve else 0)
        if cost > 0 and self._used() + cost > limit:
            raise NoRoomError("the quota is used up", hint="raise --quota, or delete something")

    def _used(self) -> int:
        return self._metadata_bytes + sum(self._class_bytes)

    # Records

    def peek_record(self, key: Key) -> bytes | None:
        """See `Store.peek_record`; memory always knows."""
        kept = self._records.get(key)
        return None if kept is None else kept[0]

    async def record(self, key: Key) -> bytes | None:
        """See `Store.record`."""
        self._check("record")
        return self.peek_record(key)

    async def put_record(
        self, key: Key, record: bytes, *, row: RecordRow, only_if: bytes | Anything | None = ANY
    ) -> bool:
        """See `Store.put_record`."""
        bounds.check_sequence(row.sequence)
        await self._sync("put_record")
        before = self._records.get(key)
        if only_if is not ANY and only_if != (before[0] if before else None):
            return False
        cost = len(record) - len(before[0]) if before else len(record) + bounds.RECORD_ROW_BYTES
        self._charge(cost + self._history_cost(key, row), reserve=row.deleted)
        if before is None:
            bisect.insort(self._keys, key)
        else:
            self._unindex(key, before[1])
        self._records[key] = (record, row)
        if row.cid is not None:
            self._by_cid.setdefault(row.cid, {})[key] = None
        self._note_version(key, HistoryRow(row, conflict=False))
        return True

    async def add_history(self, key: Key, row: RecordRow, *, conflict: bool) -> None:
        """See `Store.add_history`."""
        bounds.check_sequence(row.sequence)
        await self._sync("add_history")
        self._charge(self._history_cost(key, row), reserve=True)
        self._note_version(key, HistoryRow(row, conflict))

    def _history_cost(self, key: Key, row: RecordRow) -> int:
        rows = self._history.get(key, ())
        grows = len(rows) < bounds.HISTORY_MAX and all(known.row.version != row.version for known in rows)
        return bounds.HISTORY_ROW_BYTES if grows else 0

    def _note_version(self, key: Key, noted: HistoryRow) -> None:
        rows = [known for known in self._history.get(key, ()) if known.row.version != noted.row.version]
        rows.append(noted)
        rows.sort(key=lambda known: known.row.version, reverse=True)
        self._history[key] = rows[: bounds.HISTORY_MAX]

    async def history(self, key: Key) -> list[HistoryRow]:
        """See `Store.history`."""
        self._check("history")
        return list(self._history.get(key, ()))

    async def records(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """See `Store.records`."""
        self._check("records")
        start = 0 if after is None else bisect.bisect_right(self._keys, after)
        return [(key, self._records[key][0]) for key in self._keys[start : start + limit]]

    async def expired_records(self, now: float, limit: int) -> list[Key]:
        """See `Store.expired_records`."""
        self._check("expired_records")
        ends = ((row.expires, key) for key, (_, row) in self._records.items() if row.expires is not None)
        return [key for _, key in sorted(end for end in ends if end[0] <= now)[:limit]]

    async def drop_record(self, key: Key) -> None:
        """See `Store.drop_record`."""
        await self._sync("drop_record")
        self._metadata_bytes -= len(self._history.pop(key, ())) * bounds.HISTORY_ROW_BYTES
        before = self._records.pop(key, None)
        if before is None:
            return
        self._metadata_bytes -= len(before[0]) + bounds.RECORD_ROW_BYTES
        del self._keys[bisect.bisect_left(self._keys, key)]
        self._unindex(key, before[1])

    def _unindex(self, key: Key, row: RecordRow) -> None:
        if row.cid is None:
            return
        keys = self._by_cid[row.cid]
        del keys[key]
        if not keys:
            del self._by_cid[row.cid]

    async def record_count(self) -> int:
        """See `Store.record_count`."""
        self._check("record_count")
        return len(self._records)

    async def record_with_cid(self, cid: bytes) -> bytes | None:
        """See `Store.record_with_cid`."""
        self._check("record_with_cid")
        keys = self._by_cid.get(cid)
        return self._records[min(keys)][0] if keys else None

    async def reserve_sequence(self, key: Key, at_least: int) -> int:
        """See `Store.reserve_sequence`."""
        await self._sync("reserve_sequence")
        last = self._sequences.get(key)
        sequence = at_least if last is None else max(last + 1, at_least)
        bounds.check_sequence(sequence)
        if last is None:
            self._charge(bounds.SEQUENCE_ROW_BYTES, reserve=True)
        self._sequences[key] = sequence
        return sequence

    # Blocks

    async def put_blocks(self, blocks: Sequence[Block]) -> None:
        """See `Store.put_blocks`."""
        await self._sync("put_blocks")
        new: dict[bytes, bytes] = {}
        cost = 0
        for block in blocks:
            raw = block.cid.to_bytes()
            known = self._blocks.get(raw)
            if raw in new or (known is not None and known.data is not None):
                continue
            new[raw] = bytes(block.data)
            cost += len(block.data) + (bounds.BLOCK_ROW_BYTES if known is None else 0)
        self._require_room(cost, reserve=False)
        now = self._clock.monotonic()
        for raw, data in new.items():
            known = self._block_row(raw)
            known.data, known.put_at = data, now
            self._class_bytes[known.rank] += len(data)

    def _block_row(self, raw: bytes) -> _Block:
        known = self._blocks.get(raw)
        if known is None:
            known = self._blocks[raw] = _Block()
            self._metadata_bytes += bounds.BLOCK_ROW_BYTES
        return known

    async def block(self, cid: Cid) -> bytes | None:
        """See `Store.block`."""
        self._check("block")
        known = self._blocks.get(cid.to_bytes())
        return None if known is None else known.data

    async def has_blocks(self, cids: Sequence[Cid]) -> list[bool]:
        """See `Store.has_blocks`."""
        self._check("has_blocks")
        found = (self._blocks.get(cid.to_bytes()) for cid in cids)
        return [known is not None and known.data is not None for known in found]

    async def delete_blocks(self, cids: Sequence[Cid]) -> None:
        """See `Store.delete_blocks`."""
        await self._sync("delete_blocks")
        for cid in cids:
            self._drop_data(cid.to_bytes())

    async def drop_unlinked(self, age_s: float) -> int:
        """See `Store.drop_unlinked`."""
        await self._sync("drop_unlinked")
        newest = self._clock.monotonic() - age_s
        idle = [
            raw
            for raw, known in self._blocks.items()
            if not known.roots and (known.put_at <= newest or known.put_at < self._restarted_at)
        ]
        return sum(self._drop_data(raw) for raw in idle)

    def _drop_data(self, raw: bytes) -> int:
        """Delete a block's bytes, and its row where nothing links it; returns the bytes freed."""
        known = self._blocks.get(raw)
        if known is None:
            return 0
        freed = 0 if known.data is None else len(known.data)
        known.data = None
        self._class_bytes[known.rank] -= freed
        if not known.roots:
            del self._blocks[raw]
            self._metadata_bytes -= bounds.BLOCK_ROW_BYTES
        return freed

    def _rank_again(self, raws: Iterable[bytes]) -> None:
        """Count blocks for the class that their roots now have."""
        for raw in raws:
            known = self._blocks[raw]
            ranks = (bounds.CLASS_RANK[self._roots[root].root.class_] for root in known.roots)
            rank = max(ranks, default=bounds.RANK_UNLINKED)
            size = 0 if known.data is None else len(known.data)
            self._class_bytes[known.rank] -= size
            self._class_bytes[rank] += size
            known.rank = rank

    # Roots and claims

    async def put_root(self, root: Root) -> None:
        """See `Store.put_root`."""
        await self._sync("put_root")
        self._set_root(root)

    def _set_root(self, root: Root) -> _Kept:
        kept = self._roots.get(root.cid)
        if kept is None:
            self._charge(bounds.ROOT_ROW_BYTES, reserve=True)
            kept = self._roots[root.cid] = _Kept(root)
            return kept
        class_before = kept.root.class_
        kept.root = root
        if class_before != root.class_:
            self._rank_again(kept.blocks)
        return kept

    async def root(self, cid: bytes) -> Root | None:
        """See `Store.root`."""
        self._check("root")
        kept = self._roots.get(cid)
        return None if kept is None else kept.root

    async def roots(self, after: bytes | None, limit: int) -> list[Root]:
        """See `Store.roots`."""
        self._check("roots")
        cids = sorted(cid for cid in self._roots if after is None or cid > after)
        return [self._roots[cid].root for cid in cids[:limit]]

    def touch_root(self, cid: bytes, used_at: float) -> None:
        """See `Store.touch_root`."""
        kept = self._roots.get(cid)
        if kept is not None:
            kept.root = replace(kept.root, used_at=used_at)

    async def link_blocks(self, root: bytes, cids: Sequence[bytes]) -> None:
        """See `Store.link_blocks`."""
        await self._sync("link_blocks")
        kept = self._roots.get(root)
        new = dict.fromkeys(raw for raw in cids if kept is None or raw not in kept.blocks)
        places = sum(raw not in self._blocks for raw in new)
        cost = len(new) * bounds.LINK_ROW_BYTES + places * bounds.BLOCK_ROW_BYTES
        self._require_room(cost + (bounds.ROOT_ROW_BYTES if kept is None else 0), reserve=True)
        if kept is None:
            kept = self._set_root(unknown_root(root, self._clock.wall()))
        for raw in new:
            self._block_row(raw).roots[root] = None
            kept.blocks[raw] = None
        self._metadata_bytes += len(new) * bounds.LINK_ROW_BYTES
        self._rank_again(new)

    async def delete_root(self, cid: bytes) -> None:
        """See `Store.delete_root`."""
        await self._sync("delete_root")
        self._unlink(cid)

    async def release_root(self, cid: bytes) -> int:
        """See `Store.release_root`."""
        await self._sync("release_root")
        return self._release(cid)

    def _release(self, cid: bytes) -> int:
        return sum(self._drop_data(raw) for raw in self._unlink(cid) if not self._blocks[raw].roots)

    def _unlink(self, cid: bytes) -> list[bytes]:
        """Forget a root and its links; returns the blocks it had that still have a row."""
        kept = self._roots.pop(cid, None)
        if kept is None:
            return []
        for raw in kept.blocks:
            del self._blocks[raw].roots[cid]
        self._metadata_bytes -= bounds.ROOT_ROW_BYTES + len(kept.blocks) * bounds.LINK_ROW_BYTES
        self._rank_again(kept.blocks)
        for raw in kept.blocks:
            if self._blocks[raw].data is None:
                self._drop_data(raw)
        return [raw for raw in kept.blocks if raw in self._blocks]

    async def evict_cache(self, bytes_wanted: int) -> int:
        """See `Store.evict_cache`."""
        await self._sync("evict_cache")
        cached = sorted(
            (kept.root.used_at, cid)
            for cid, kept in self._roots.items()
            if kept.root.class_ == "cache" and not self._claims.get(cid)
        )
        freed = 0
        for _, cid in cached:
            if freed >= bytes_wanted:
                break
            freed += self._release(cid)
        return freed

    async def add_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.add_claim`."""
        bounds.check_claim(claim)
        await self._sync("add_claim")
        if claim in self._claims.get(cid, ()):
            return
        self._charge(bounds.CLAIM_ROW_BYTES + len(claim), reserve=True)
        self._claims.setdefault(cid, {})[claim] = None

    async def remove_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.remove_claim`."""
        await self._sync("remove_claim")
        kept = self._claims.get(cid, {})
        if claim not in kept:
            return
        del kept[claim]
        self._metadata_bytes -= bounds.CLAIM_ROW_BYTES + len(claim)
        if not kept:
            del self._claims[cid]

    async def claims(self, cid: bytes) -> list[bytes]:
        """See `Store.claims`."""
        self._check("claims")
        return sorted(self._claims.get(cid, ()))

    async def roots_with_claim(self, claim: bytes) -> list[bytes]:
        """See `Store.roots_with_claim`."""
        self._check("roots_with_claim")
        return sorted(cid for cid, kept in self._claims.items() if claim in kept)

    # Providers and peers

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
        if len(self._provider_ends) > bounds.PROVIDERS_MAX:
            self._drop_provider(*self._provider_ends[0][1:])

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

    async def remember_peers(self, peers: Sequence[tuple[PeerId, str, int, float]]) -> None:
        """See `Store.remember_peers`."""
        await self._sync("remember_peers")
        merged = dict(self._peers)
        merged.update((peer[0], RememberedPeer(*peer)) for peer in peers)
        newest = sorted(merged.values(), key=lambda one: (-one.last_seen, one.peer))[: bounds.PEERS_MAX]
        self._charge((len(newest) - len(self._peers)) * bounds.PEER_ROW_BYTES, reserve=True)
        self._peers = {one.peer: one for one in newest}

    async def remembered_peers(self, limit: int) -> list[RememberedPeer]:
        """See `Store.remembered_peers`."""
        self._check("remembered_peers")
        return list(self._peers.values())[:limit]

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

"""The store's calls on blocks, roots and claims, in memory; no order of hashes shows in what they answer."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from peerd.content.block import Block, check
from peerd.content.cid import Cid
from peerd.errors import NoRoomError
from peerd.io.store import bounds
from peerd.io.store.ahead import AHEAD_MAX
from peerd.io.store.interface import Freed, Root, unknown_root
from peerd.io.store.memory_base import MemoryBase


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


def _idleness(root: Root) -> tuple[bool, float, bytes]:
    return root.copies > 0, root.used_at, root.cid


class MemoryContent(MemoryBase):
    """See `Store`."""

    def __init__(self, *arguments: Any, **hooks: Any) -> None:
        super().__init__(*arguments, **hooks)
        self._blocks: dict[bytes, _Block] = {}
        self._roots: dict[bytes, _Kept] = {}
        self._claims: dict[bytes, dict[bytes, None]] = {}
        self._additions: dict[bytes, float | None] = {}
        self._ahead: dict[bytes, bytes] = {}

    async def put_blocks(
        self, blocks: Sequence[Block], *, root: bytes | None = None, named: Sequence[bytes] = ()
    ) -> None:
        """See `Store.put_blocks`."""
        await self._sync("put_blocks")
        new: dict[bytes, bytes] = {}
        here: dict[bytes, _Block] = {}
        cost = 0
        for block in blocks:
            raw = block.cid.to_bytes()
            known = self._blocks.get(raw)
            if raw in new:
                continue
            if known is not None and known.data is not None:
                here[raw] = known
                continue
            new[raw] = bytes(block.data)
            cost += len(block.data) + bounds.padding_bytes(len(block.data))
            cost += bounds.BLOCK_ROW_BYTES if known is None else 0
        self._require_room(cost, reserve=False)
        for known in here.values():
            known.put_at = self._clock.monotonic()
        for raw, data in new.items():
            self._keep(raw, data)
        if root is not None:
            try:
                self._link(root, [*(block.cid.to_bytes() for block in blocks), *named])
            except NoRoomError:
                for raw in new:
                    self._drop_data(raw)
                raise
        self._unstage(new)

    def stage_block(self, block: Block) -> None:
        """See `StagesBlocks`."""
        if len(block.data) > bounds.INLINE_MAX_BYTES and len(self._ahead) < AHEAD_MAX and not self._closed:
            self._ahead[block.cid.to_bytes()] = block.data

    async def receive_block(self, block: Block, land: Callable[[], None] | None = None) -> bool:
        """See `StagesBlocks`."""
        right = check(block.cid, block.data)
        if right:
            self.stage_block(block)
            if land is not None:
                land()
        return right

    def unstage_blocks(self, blocks: Iterable[Block]) -> None:
        """See `StagesBlocks`."""
        self._unstage(block.cid.to_bytes() for block in blocks)

    def _unstage(self, raws: Iterable[bytes]) -> None:
        for raw in raws:
            self._ahead.pop(raw, None)

    def crash(self, *, process_only: bool = False) -> None:
        """See `MemoryBase.crash`; what was staged outlives the process, and nothing else does."""
        ahead, self._ahead = self._ahead, {}
        super().crash()
        for raw, data in ahead.items() if process_only else ():
            with suppress(NoRoomError):
                self._require_room(len(data) + bounds.padding_bytes(len(data)) + bounds.BLOCK_ROW_BYTES, reserve=False)
                self._keep(raw, data)

    def _keep(self, raw: bytes, data: bytes) -> None:
        known = self._block_row(raw)
        if known.data is None:
            known.data, known.put_at = data, self._clock.monotonic()
            self._class_bytes[known.rank] += len(data)
            self._metadata_bytes += bounds.padding_bytes(len(data))

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

    async def small_blocks(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """See `ReadsSmallBlocks`."""
        self._check("block")
        found = {cid: known.data for cid in cids if (known := self._blocks.get(cid.to_bytes())) is not None}
        return {cid: data for cid, data in found.items() if data is not None and len(data) <= bounds.INLINE_MAX_BYTES}

    async def block_to_send(self, cid: Cid) -> bytes | None:
        """See `Store.block_to_send`."""
        return await self.block(cid)

    async def has_blocks(self, cids: Sequence[Cid]) -> list[bool]:
        """See `Store.has_blocks`."""
        self._check("has_blocks")
        found = (self._blocks.get(cid.to_bytes()) for cid in cids)
        return [known is not None and known.data is not None for known in found]

    async def not_linked(self, root: bytes, cids: Sequence[bytes]) -> list[bytes]:
        """See `ReadsSmallBlocks`."""
        self._check("has_blocks")
        kept = self._roots.get(root)
        here = {raw for raw in cids if kept is not None and raw in kept.blocks and self._blocks[raw].data is not None}
        return [raw for raw in cids if raw not in here]

    async def delete_blocks(self, cids: Sequence[Cid]) -> None:
        """See `Store.delete_blocks`."""
        await self._sync("delete_blocks")
        for cid in cids:
            self._drop_data(cid.to_bytes())

    async def drop_unlinked(self, age_s: float, *, since: float | None = None) -> Freed:
        """See `Store.drop_unlinked`."""
        await self._sync("drop_unlinked")
        newest = self._clock.monotonic() - age_s
        idle = [
            raw
            for raw, known in self._blocks.items()
            if not known.roots and (known.put_at <= newest or known.put_at < self._restarted_at)
            if not self._is_spared(known, since)
        ]
        return Freed(sum(self._drop_data(raw) for raw in idle), len(idle))

    def _is_spared(self, known: _Block, since: float | None) -> bool:
        return since is not None and known.put_at >= max(since, self._restarted_at)

    async def drop_rotten(self) -> int:
        """See `Store.drop_rotten`; memory does not rot."""
        await self._sync("drop_rotten")
        return 0

    def _drop_data(self, raw: bytes) -> int:
        """Delete a block's bytes, and its row where nothing links it; returns the bytes freed."""
        known = self._blocks.get(raw)
        if known is None:
            return 0
        freed = 0 if known.data is None else len(known.data)
        known.data = None
        self._class_bytes[known.rank] -= freed
        self._metadata_bytes -= bounds.padding_bytes(freed)
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

    async def roots_with_block(self, cid: bytes, limit: int) -> list[bytes]:
        """See `Store.roots_with_block`."""
        self._check("roots_with_block")
        known = self._blocks.get(cid)
        return [] if known is None else sorted(known.roots)[:limit]

    def touch_root(self, cid: bytes, used_at: float) -> None:
        """See `Store.touch_root`."""
        kept = self._roots.get(cid)
        if kept is not None:
            kept.root = replace(kept.root, used_at=used_at)

    async def link_blocks(self, root: bytes, cids: Sequence[bytes]) -> None:
        """See `Store.link_blocks`."""
        await self._sync("link_blocks")
        self._link(root, cids)

    def _link(self, root: bytes, cids: Sequence[bytes]) -> None:
        kept = self._roots.get(root)
        new = dict.fromkeys(raw for raw in cids if kept is None or raw not in kept.blocks)
        places = sum(raw not in self._blocks for raw in new)
        cost = len(new) * bounds.LINK_ROW_BYTES + places * bounds.BLOCK_ROW_BYTES
        self._require_room(cost + (bounds.ROOT_ROW_BYTES if kept is None else 0), reserve=True)
        if kept is None:
            kept = self._set_root(unknown_root(root, self.now_s()))
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
        return self._release(cid, None).bytes

    async def release_unclaimed(self, cid: bytes, *, since: float) -> Freed | None:
        """See `Store.release_unclaimed`."""
        await self._sync("release_unclaimed")
        kept = self._roots.get(cid)
        if kept is None or kept.root.class_ != "cache" or self._claims.get(cid):
            return None
        return self._release(cid, since)

    def _release(self, cid: bytes, since: float | None) -> Freed:
        idle = [raw for raw in self._unlink(cid) if not self._blocks[raw].roots]
        idle = [raw for raw in idle if not self._is_spared(self._blocks[raw], since)]
        return Freed(sum(self._drop_data(raw) for raw in idle), len(idle))

    async def idle_roots(self, after: Root | None, limit: int) -> list[Root]:
        """See `Store.idle_roots`."""
        self._check("idle_roots")
        cached = (kept.root for kept in self._roots.values() if kept.root.class_ == "cache")
        return sorted((root for root in cached if after is None or _idleness(root) > _idleness(after)), key=_idleness)[
            :limit
        ]

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

    async def evict_cache(self, bytes_wanted: int, spare: Collection[bytes] = (), *, since: float | None = None) -> int:
        """See `Store.evict_cache`."""
        await self._sync("evict_cache")
        cached = sorted(
            (*_idleness(kept.root), cid)
            for cid, kept in self._roots.items()
            if kept.root.class_ == "cache" and cid not in spare and not self._claims.get(cid)
        )
        freed = 0
        for *_, cid in cached:
            if freed >= bytes_wanted:
                break
            freed += self._release(cid, since).bytes
        return freed

    async def add_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.add_claim`."""
        bounds.check_claim(claim)
        await self._sync("add_claim")
        if claim in self._claims.get(cid, ()):
            return
        self._charge(bounds.claim_bytes(claim), reserve=True)
        self._claims.setdefault(cid, {})[claim] = None

    async def remove_claim(self, cid: bytes, claim: bytes) -> None:
        """See `Store.remove_claim`."""
        await self._sync("remove_claim")
        kept = self._claims.get(cid, {})
        if claim not in kept:
            return
        del kept[claim]
        self._metadata_bytes -= bounds.claim_bytes(claim)
        if not kept:
            del self._claims[cid]

    async def claims(self, cid: bytes, *, prefix: bytes = b"", limit: int | None = None) -> list[bytes]:
        """See `Store.claims`."""
        self._check("claims")
        return sorted(claim for claim in self._claims.get(cid, ()) if claim.startswith(prefix))[:limit]

    async def claims_like(
        self, prefix: bytes, after: tuple[bytes, bytes] | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See `Store.claims_like`."""
        self._check("claims_like")
        found = ((claim, cid) for cid, kept in self._claims.items() for claim in kept if claim.startswith(prefix))
        above = (b"", b"") if after is None else (after[1], after[0])
        return [(cid, claim) for claim, cid in sorted(one for one in found if one > above)[:limit]]

    async def note_addition(self, cid: bytes, withdrawn_at: float | None) -> None:
        """See `Store.note_addition`."""
        await self._sync("note_addition")
        if cid not in self._additions:
            self._charge(bounds.ADDITION_ROW_BYTES, reserve=True)
        self._additions[cid] = withdrawn_at

    async def addition(self, cid: bytes) -> tuple[float | None] | None:
        """See `Store.addition`."""
        self._check("addition")
        return (self._additions[cid],) if cid in self._additions else None

    async def withdrawals(self, after: bytes | None, limit: int) -> list[tuple[bytes, float]]:
        """See `Store.withdrawals`."""
        self._check("withdrawals")
        found = sorted((cid, at) for cid, at in self._additions.items() if at is not None)
        return [one for one in found if after is None or one[0] > after][:limit]

    async def drop_addition(self, cid: bytes) -> None:
        """See `Store.drop_addition`."""
        await self._sync("drop_addition")
        if cid in self._additions:
            del self._additions[cid]
            self._metadata_bytes -= bounds.ADDITION_ROW_BYTES

    async def roots_with_claim(self, claim: bytes) -> list[bytes]:
        """See `Store.roots_with_claim`."""
        self._check("roots_with_claim")
        return sorted(cid for cid, kept in self._claims.items() if claim in kept)

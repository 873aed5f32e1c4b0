"""What must hold after each step, seen from outside the peers: from their hosts' stores and the books of what was said.

Not here: judging a single answer (requests), and histories of strong operations (linear).
"""

import dataclasses
from contextlib import suppress

from peerd.errors import StoreError
from peerd.ids import Key, PeerId, distance, peer_id_text
from peerd.io.store.bounds import common_bytes
from peerd.node.claims import read_row
from peerd.node.core import RECORD_HOLDERS
from peerd.records.evidence import KIND_NAMES, read_evidence
from peerd.sim.host import Host
from peerd.sim.ledger import Name, Write
from peerd.sim.requests import Requests
from peerd.sim.world import World

# What a version takes beside its bytes, its history included.
RECORD_ROOM_BYTES = 2_048
# How far beyond its quota a store may be, at the very most.
QUOTA_SLACK = 1.05


class Checks:
    """Looks at a world; what is wrong is told to `requests`, once."""

    def __init__(self, world: World, requests: Requests) -> None:
        self._world = world
        self._requests = requests
        self._stores = requests.stores
        self._told: set[str] = set()
        self.looks = 0

    def _tell(self, wrong: str) -> None:
        if wrong not in self._told:
            self._told.add(wrong)
            self._requests.violate(wrong)

    # At any time.

    async def look(self) -> None:
        """Check what must hold at any time."""
        self.looks += 1
        for name in self._requests.ledger.names.values():
            newest = name.newest
            if newest is not None:
                self._is_held(name, newest)
        for host in self._world.honest:
            await self._counts(host)
            await self._convicts_nobody(host)

    async def _convicts_nobody(self, host: Host) -> None:
        """No honest peer is convicted, whatever befell it."""
        if not host.lives:
            return
        with suppress(StoreError):  # its disk fails just now
            for raw in await host.store.evidence():
                said = read_evidence(raw)
                accused = self._world.by_id.get(peer_id_text(PeerId(said.accused)))
                if accused is not None and accused in self._world.honest:
                    kind = KIND_NAMES[said.kind]
                    self._tell(f"{host.name} has evidence ({kind}) against {accused.name}, which is honest")

    def _is_held(self, name: Name, newest: Write) -> None:
        """Some honest peer has what was acknowledged, or what came after it, unless all that said so are gone."""
        key = self._stores.key(name)
        holders = self._intact(newest)
        if any(self._has(host, key, newest.sequence) for host in holders):
            return
        if holders and not any(self._has(host, key, newest.sequence) for host in self._world.honest):
            kind = "delete" if newest.value is None else "write"
            where = ", ".join(str(host.index) for host in holders)
            self._tell(f"nobody holds {name.name} any more: the {kind} {newest.version} acknowledged by {where}")

    def _has(self, host: Host, key: Key, sequence: int) -> bool:
        held = self._stores.held(host, key)
        return held is not None and held.sequence >= sequence

    def _intact(self, write: Write) -> list[Host]:
        """Return who lives of those honest that acknowledged a write and have not lost it with an old copy."""
        return [host for host in self._world.honest_of(write.holders) if not host.has_lost(write.ended_at)]

    async def _counts(self, host: Host) -> None:
        usage = await host.store.usage()
        for counter in dataclasses.fields(usage):
            count = getattr(usage, counter.name)
            if count < 0:
                self._tell(f"{counter.name} of {host.name} is negative: {count}")
        if usage.used_bytes > QUOTA_SLACK * usage.quota_bytes:
            self._tell(f"{host.name} uses {usage.used_bytes} bytes of {usage.quota_bytes}")

    # When all faults are over.

    async def settled(self) -> None:
        """Check what must hold once faults are over and the world has had its time."""
        for name in self._requests.ledger.names.values():
            newest = name.newest
            if newest is not None and self._intact(newest):
                await self._agree(name, newest)
                await self._copies(name, newest)
        for host in self._world.honest:
            await self._copies_end(host)

    async def _agree(self, name: Name, newest: Write) -> None:
        """All that should hold a key and have room have the same version, and at least what was acknowledged."""
        key = self._stores.key(name)
        nearest = sorted(self._world.living, key=lambda host: distance(self._stores.place(host), key))[:RECORD_HOLDERS]
        nearest = [host for host in nearest if host.outfit is None and await self._has_room(host, RECORD_ROOM_BYTES)]
        versions = {host.index: self._stores.held(host, key) for host in nearest}
        # A tombstone, a floor and nothing say the same of a key that is deleted.
        said = {"over" if held is None or held.deleted else held.version for held in versions.values()}
        old = any(
            not held.deleted and held.sequence < newest.sequence for held in versions.values() if held is not None
        )
        if len(said) > 1 or old or (said == {"over"} and not name.may_be_deleted(newest)):
            shown = ", ".join(f"{index}: {held.version if held else 'nothing'}" for index, held in versions.items())
            self._tell(f"the holders of {name.name} differ, acknowledged was {newest.version}: {shown}")

    async def _copies(self, name: Name, newest: Write) -> None:
        """There are as many copies of content as were wanted, or as have room; of what was not outdone."""
        key = self._stores.key(name)
        held = [self._stores.held(host, key) for host in self._world.living]
        if newest.content is None or any(each is not None and each.version != newest.version for each in held):
            return
        have, might = [], 0
        for host in self._world.honest:
            root = await host.store.root(newest.content)
            if root is not None and root.complete and root.class_ != "cache":
                have.append(host.index)
            else:
                might += await self._has_room(host, len(newest.value or b""))
        if have and not might:
            return
        honest = self._world.honest
        if len(have) < min(honest[0].settings.copies, len(honest)):
            self._tell(f"too few copies of the content of {name.name}: on {have}")

    async def _has_room(self, host: Host, size: int) -> bool:
        """Whether so much more fits in beside what a host promised, and without what it keeps for other writers."""
        usage = await host.store.usage()
        promised = usage.used_bytes - usage.cache_bytes + size
        return promised <= common_bytes(usage.quota_bytes)

    async def _copies_end(self, host: Host) -> None:
        """No copy is kept for a version of a name that the same host knows to be deleted."""
        held = {self._stores.key(name): name for name in self._requests.ledger.names.values()}
        for root in await host.store.roots(None, len(held) * 100 + 100):
            for claim in await host.store.claims(root.cid):
                row = read_row(claim)
                if row is None or row.claim.key not in held:
                    continue
                key = Key(row.claim.key)
                record = self._stores.held(host, key)
                if record is not None and record.deleted and row.claim.sequence < record.sequence:
                    self._tell(f"{host.name} keeps content for {held[key].name}, which was deleted")

"""What the verbs share: this peer's identity, members, store, endpoint and bulk connections, in one place.

A verb is a module with one public coroutine that is given a Core; the Peer (peer.py) makes and ends it.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peerd.config import Settings
from peerd.identity import Identity
from peerd.ids import Key, PeerId, find_peer_id, name_key
from peerd.io.environment import Environment
from peerd.io.store.interface import Store
from peerd.kad.contact import Address, Contact
from peerd.kad.crowd import RECORD_HOLDERS
from peerd.node.absent import Absent
from peerd.node.backoff import Backoff
from peerd.node.blocks import Intake, Room
from peerd.node.bulk_pool import BulkPool
from peerd.node.copies import Copies
from peerd.node.endpoint import Endpoint
from peerd.node.events import Events
from peerd.node.given import Given
from peerd.node.keylocks import KeyLocks
from peerd.node.known import Known
from peerd.node.members import Members
from peerd.node.promising import Promises
from peerd.node.proofs import Proofs
from peerd.node.registers import Registers
from peerd.node.seen import SeenVersions
from peerd.node.tasks import Tasks
from peerd.node.trusting import Trusting
from peerd.records.statement import Verifier
from peerd.trust.admission import Admission

if TYPE_CHECKING:
    from peerd.node.build_cache import BuildCache
    from peerd.node.changes import Changes
    from peerd.node.convicting import Convicting
    from peerd.node.digests import Digests
    from peerd.node.gossip import Gossip
    from peerd.node.lapsing import Lapsing
    from peerd.node.reconciling import Reconciling
    from peerd.node.record_cache import RecordCache
    from peerd.node.returning import Returning
    from peerd.node.revoking import Revoking
    from peerd.node.sharing import SharedRoots
    from peerd.node.tombstones import Tombstones


@dataclass(slots=True)
class Counts:
    """What the status shows of the work done."""

    cache_hits: int = 0
    cache_misses: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Core:
    """One running peer, as its verbs see it."""

    settings: Settings
    identity: Identity
    environment: Environment
    store: Store
    tasks: Tasks
    members: Members
    verifier: Verifier
    events: Events
    endpoint: Endpoint = field(init=False)
    bulk: BulkPool = field(init=False)
    known: Known = field(init=False)
    reconciling: "Reconciling" = field(init=False)
    cached: "RecordCache" = field(init=False)
    changes: "Changes" = field(init=False)
    lapsing: "Lapsing" = field(init=False)
    returning: "Returning" = field(init=False)
    tombstones: "Tombstones" = field(init=False)
    gossip: "Gossip" = field(init=False)
    convicting: "Convicting" = field(init=False)
    revoking: "Revoking" = field(init=False)
    digests: "Digests" = field(init=False)
    build_cache: "BuildCache" = field(init=False)
    sharing: "SharedRoots" = field(init=False)
    intake: Intake
    room: Room
    registers: Registers
    promises: Promises
    proofs: Proofs
    trust: Trusting
    seen: SeenVersions = field(init=False)
    admission: Admission
    locks: KeyLocks = field(default_factory=KeyLocks)
    counts: Counts = field(default_factory=Counts)
    absent: Absent = field(default_factory=Absent)
    copies: Copies = field(default_factory=Copies)
    given: Given = field(default_factory=Given)
    backoff: Backoff = field(default_factory=Backoff)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the first attempts to meet others have ended: before that nobody can say what there is not."""
    own_address: str = ""
    """What this peer listens on, as people write it."""
    missing_since: dict[bytes, float] = field(default_factory=dict)
    """Keys and roots that lack copies, and since when (monotonic)."""

    def __post_init__(self) -> None:
        self.seen = SeenVersions(self.store, self.tasks)

    @property
    def peer(self) -> PeerId:
        """Return our own id."""
        return self.identity.peer

    def now(self) -> float:
        """Return the monotonic time."""
        return self.environment.clock.monotonic()

    async def next_stamp(self) -> int:
        """Return a number above all that this peer has signed as a stamp before; durable before it is returned."""
        return await self.store.next_stamp()

    def nobody_at(self, peer: PeerId, address: Address) -> None:
        """Note that a peer did not answer there; one that was ever met has its place among the members instead."""
        if peer not in self.members.all:
            self.absent.note(peer, address, self.now())

    def key_of(self, name: str) -> tuple[Key, str, PeerId | None]:
        """Return (key, name, owner) of a name as users write it: `NAME`, or `PEER/NAME` for a peer's own."""
        head, slash, rest = name.partition("/")
        owner = find_peer_id(head) if slash and rest else None
        if owner is None:
            return name_key(self.identity.network, name), name, None
        return name_key(self.identity.network, rest, owner), rest, owner

    def silent_after_s(self, contact: Contact, *, durable: bool = False) -> float:
        """Return after how long without a reply this contact is silent, in its own measured terms.

        `durable` is for requests that are answered once something is on the other's disk.
        """
        return self.endpoint.roundtrips.rto_s(contact.peer, durable=durable)


__all__ = ["RECORD_HOLDERS", "Core", "Counts"]

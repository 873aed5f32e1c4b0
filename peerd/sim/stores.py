"""What the hosts' stores have under a key, as one sees it who can look into all of them."""

from collections import OrderedDict
from dataclasses import dataclass

from peerd.ids import Key, NodeId, name_key, node_id
from peerd.records.record import read_record
from peerd.records.version import version_text
from peerd.sim.host import Host
from peerd.sim.ledger import Name
from peerd.sim.world import World

READ_RECORDS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Held:
    """What a store has under a key: a version, and whether it says that there is nothing (a tombstone, a floor)."""

    version: str
    sequence: int
    deleted: bool


class Stores:
    """Looks into the stores of a world, whether or not a peer runs on them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read: OrderedDict[bytes, Held] = OrderedDict()
        self._places: dict[int, NodeId] = {}

    def held(self, host: Host, key: Key) -> Held | None:
        """Return what a host's store has under a key."""
        raw = host.store.peek_record(key)
        if raw is None:
            floor = host.store.peek_floor(key)
            return None if floor is None else Held(version_text(*floor.version), floor.sequence, deleted=True)
        known = self._read.get(raw)
        if known is None:
            record = read_record(raw)
            known = self._read[raw] = Held(record.version.text, record.body.sequence, record.deleted)
            if len(self._read) > READ_RECORDS_MAX:
                self._read.popitem(last=False)
        return known

    def having(self, name: Name, sequence: int) -> list[Host]:
        """Return whose stores have that version of a name, or a newer one."""
        key = self.key(name)
        found = ((host, self.held(host, key)) for host in self._world.hosts)
        return [host for host, held in found if held is not None and held.sequence >= sequence]

    def key(self, name: Name) -> Key:
        """Return the key of a name."""
        if name.key is None:
            name.key = name_key(self._world.overlay, name.name)
        return name.key

    def place(self, host: Host) -> NodeId:
        """Return where a host's peer is among the keys."""
        place = self._places.get(host.index)
        if place is None:
            place = self._places[host.index] = node_id(self._world.overlay, host.identity.peer)
        return place

"""Who lies together: liars know each other, answer each other honestly, and agree on whom and what they are after.

In one process they share a Clan. In several it is a JSON file, which each reads again when it has changed.
"""

import bisect
import fcntl
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peerd.ids import NetworkId, NodeId, PeerId, distance, node_id
from peerd.kad.contact import Address, Contact

# Contacts looked at on either side of a target among the sorted places: enough for the nearest of a few hundred.
WINDOW = 40


@dataclass
class Clan:
    """`keys` are what they are after; empty: everything. `victims` are whom they lie to; empty: everybody else."""

    keys: set[bytes] = field(default_factory=set)
    victims: set[PeerId] = field(default_factory=set)
    path: Path | None = None
    members: dict[PeerId, Address] = field(default_factory=dict)
    heard: list[tuple[Address, bytes]] = field(default_factory=list)
    """What any of them kept for later: where it came from, and the bytes."""
    _read_at: int = 0
    _places: list[tuple[NodeId, PeerId]] = field(default_factory=list)
    _network: NetworkId | None = None

    def __contains__(self, peer: object) -> bool:
        self._read()
        return peer in self.members

    def lies_to(self, peer: PeerId) -> bool:
        """Whether this peer is to be lied to."""
        return peer not in self and (not self.victims or peer in self.victims)

    def wants(self, key: bytes) -> bool:
        """Whether they are after this key."""
        return not self.keys or key in self.keys

    def enrol(self, peer: PeerId, address: Address) -> None:
        """Take somebody in, or note where it is now."""
        if self.members.get(peer) == address:
            return
        self.members[peer] = address
        self._places = []
        if self.path is not None:
            self._write(peer, address)

    def nearest(self, network: NetworkId, target: bytes, count: int) -> list[Contact]:
        """Return those of them that are about nearest to a target, nearest first."""
        self._read()
        if len(self._places) != len(self.members) or self._network != network:
            self._network = network
            self._places = sorted((node_id(network, peer), peer) for peer in self.members)
        return [
            Contact(peer, place, self.members[peer]) for place, peer in about(self._places, target, max(count, WINDOW))
        ][:count]

    # Across processes.

    def _read(self) -> None:
        if self.path is None or not self.path.exists() or self.path.stat().st_mtime_ns == self._read_at:
            return
        self._read_at = self.path.stat().st_mtime_ns
        with self.path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            told = json.load(file)
        self._take(told)

    def _take(self, told: dict[str, Any]) -> None:
        self.members |= {PeerId(bytes.fromhex(peer)): (at[0], at[1]) for peer, at in told.get("members", {}).items()}
        self.keys |= {bytes.fromhex(key) for key in told.get("keys", [])}
        self.victims |= {PeerId(bytes.fromhex(peer)) for peer in told.get("victims", [])}
        self._places = []

    def _write(self, peer: PeerId, address: Address) -> None:
        assert self.path is not None
        self.path.touch()
        with self.path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            told = json.loads(text) if text else {}
            told.setdefault("members", {})[peer.hex()] = list(address)
            self._take(told)
            file.seek(0)
            file.truncate()
            json.dump(told, file)


def about(places: list[tuple[NodeId, PeerId]], target: bytes, count: int) -> Iterable[tuple[NodeId, PeerId]]:
    """Return those of some sorted places that are about nearest to a target, nearest first.

    Looked for in one window round it: the nearest by XOR are nearly always there, and all of it costs microseconds.
    """
    at = bisect.bisect_left(places, (target, b""))
    window = places[max(0, at - count) : at + count]
    return sorted(window, key=lambda each: distance(each[0], target))

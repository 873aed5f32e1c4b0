"""What a simulated host's disk does wrong: it is slow, fails to sync, or is full; for good, or for a while.

Reads go on: a disk that answers nothing at all is a host that crashed.
"""

from random import Random
from typing import Literal

from msgspec.structs import replace

from peerd.errors import NoRoomError, StoreError
from peerd.io.store.memory import MemoryStore
from peerd.sim.faults import Faults

DiskFault = Literal["full", "failing", "slow"]

SLOW_SYNC_S = 2.0
# What adds something; the rest only changes or frees.
ADDING = ("put_", "add_", "link_", "reserve_", "remember_")

FULL, FAILED = "the disk is full", "the disk failed"


def excuses(reason: str) -> bool:
    """Return whether an error is the disk's that was told to fail, and so no fault of the peer's."""
    return reason.startswith((FULL, FAILED, "the host crashed"))


class Disk:
    """The hooks of one host's store. `fault` is what is wrong just now, beside the world's own faults."""

    def __init__(self, rng: Random, faults: Faults) -> None:
        self.fault: DiskFault | None = None
        self._rng = rng
        self._faults = faults

    def attach(self, store: MemoryStore, fault: DiskFault | None = None) -> None:
        """Be that store's disk, from now on with this fault."""
        self.fault = fault
        store.sync_delay = self._sync_s if self._faults.sync_ms else None
        store.sync_fault = self._may_fail if self._faults.sync_failures else None
        if self.fault is not None:
            store.sync_delay, store.sync_fault = self._sync_s, self._may_fail

    def mend(self, store: MemoryStore) -> None:
        """Fail no more, at all."""
        self._faults = replace(self._faults, sync_failures=0.0)
        self.attach(store)

    def _sync_s(self) -> float:
        if self.fault == "slow":
            return SLOW_SYNC_S
        return self._rng.expovariate(1000 / self._faults.sync_ms) if self._faults.sync_ms else 0.0

    def _may_fail(self, operation: str) -> None:
        if self.fault == "full" and operation.startswith(ADDING):
            raise NoRoomError(FULL)
        failures = self._faults.sync_failures
        if self.fault == "failing" or (failures and self._rng.random() < failures):
            raise StoreError(f"{FAILED} ({operation})")

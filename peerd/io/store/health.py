"""What is wrong with the disk, as the store's threads find it and people are told it.

Held by no thread: whoever syncs reports here, the keeper (`keeper`) reports what it checks, the loop reads. After a
sync that failed nothing is trusted until it was read again from the disk: the kernel forgets pages that it could not
write and says "done" to the next sync (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
"""

import contextlib
import errno
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from typing import Literal

from peerd.clock import Clock
from peerd.errors import StoreError
from peerd.io.store.faults import is_damage, is_disk_failure, is_full

SLOW_SYNC_S = 1.0
"""A sync that takes longer is said: whoever puts waits for it."""

SLOW_SHOWN_S = 5.0
"""How long after its end it is said: the next one may be as slow."""

SLOW_SYNCS_KEPT = 64

Part = Literal["place", "readonly", "space", "inodes", "sync", "damage"]
_ORDER: tuple[Part, ...] = ("place", "readonly", "space", "inodes", "sync", "damage")

GONE = "the data directory is gone"
READ_ONLY = "the file system is read-only"
FULL = "the disk is full"
NO_INODES = "no inodes left"
SYNC_FAILED = "syncing failed"
DAMAGED = "the database is damaged"


class StoreHealth:
    """The reasons why a store does not work as it should, and whether it takes writes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[Part, str] = {}
        self._syncing: dict[object, float] = {}
        self._slow: deque[tuple[float, float]] = deque(maxlen=SLOW_SYNCS_KEPT)
        self._failures = 0
        self._trusted = True

    @property
    def reasons(self) -> list[str]:
        """Plain sentences, empty where all is well. No I/O."""
        with self._lock:
            found = [self._found[part] for part in _ORDER if part in self._found]
            now = self._clock.monotonic()
            took = [now - began for began in self._syncing.values()]
            took += [took_s for ended, took_s in self._slow if now - ended <= SLOW_SHOWN_S]
            slow_s = max(took, default=0.0)
        if slow_s > SLOW_SYNC_S:
            found.append(f"syncing takes {slow_s:.1f} s")
        return found

    @property
    def trusted(self) -> bool:
        """Whether the store takes writes: not from a failed sync on until all was read again."""
        return self._trusted

    @property
    def failures(self) -> int:
        """How often a sync has failed so far: who reads all again must see the same number before and after."""
        return self._failures

    def require_trusted(self) -> None:
        """Raise StoreError while no write can be promised to last."""
        if not self._trusted:
            reasons = [reason for part, reason in self._found.items() if part in ("place", "readonly", "sync")]
            raise StoreError(
                f"nothing is written: {', '.join(reasons) or SYNC_FAILED}",
                hint="it goes on by itself once the disk works again",
            )

    def note(self, part: Part, reason: str | None) -> None:
        """Say what is wrong with one part, None for nothing."""
        with self._lock:
            if reason is None:
                self._found.pop(part, None)
            else:
                self._found[part] = reason

    def distrust(self, part: Part, reason: str) -> None:
        """Take no write from now on, for that reason."""
        with self._lock:
            self._found[part] = reason
            self._failures += 1
            self._trusted = False

    def restore_trust(self, failures: int) -> bool:
        """Take writes again, unless more has failed than the `failures` before all was read; returns whether."""
        with self._lock:
            if failures == self._failures:
                self._trusted = True
                self._found.pop("sync", None)
                self._found.pop("readonly", None)
            return self._trusted

    @contextlib.contextmanager
    def syncing(self) -> Iterator[None]:
        """Measure a sync made inside; where it fails, nothing is trusted any more."""
        ticket = object()
        with self._lock:
            self._syncing[ticket] = self._clock.monotonic()
        try:
            yield
        except OSError as error:
            # Whatever its number: what was to be on the disk is not, and the next sync would not say so again.
            self.distrust(*_reason(error))
            raise
        except sqlite3.Error as error:
            self.look_at(error)
            raise
        finally:
            with self._lock:
                now = self._clock.monotonic()
                took_s = now - self._syncing.pop(ticket)
                if took_s > SLOW_SYNC_S:
                    self._slow.append((now, took_s))

    def look_at(self, error: sqlite3.Error | OSError) -> None:
        """Note what an error says of the disk; one of want of space is the caller's alone."""
        if is_damage(error):
            self.note("damage", DAMAGED)
        elif is_disk_failure(error) and not is_full(error):
            self.distrust(*_reason(error))


def _reason(error: sqlite3.Error | OSError) -> tuple[Part, str]:
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return "readonly", READ_ONLY
    return "sync", SYNC_FAILED

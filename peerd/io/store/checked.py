"""Which block files were hashed lately and have not changed since: whoever is sent one checks it anyway.

A file's identity is its inode, size and time of change; whoever writes to it changes that, so that it is hashed again.
What a disk changes by itself within CHECKED_S is found by whom it is sent to, and here after that.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

CHECKED_S = 600.0
# The files of 8 GiB; those noted longest ago go.
CHECKED_MAX = 8_192

_Identity = tuple[int, int, int, int]


class Checked:
    """From any thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[float, _Identity]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, raw: bytes, found: os.stat_result) -> None:
        """A block's file, as `found`, holds what its CID says."""
        with self._lock:
            self._known[raw] = (self._monotonic() + CHECKED_S, _identity(found))
            self._known.move_to_end(raw)
            if len(self._known) > CHECKED_MAX:
                self._known.popitem(last=False)

    def was(self, raw: bytes, found: os.stat_result) -> bool:
        """Say whether that was noted of just this file, not long ago."""
        with self._lock:
            until, identity = self._known.get(raw, (0.0, None))
        return identity == _identity(found) and self._monotonic() < until


def _identity(found: os.stat_result) -> _Identity:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_dev

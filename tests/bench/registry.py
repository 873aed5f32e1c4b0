"""Which implementations are measured, under which interpreter, and whether they are here.

Each runs in a child process of its own (`tests.bench.worker`), so that none of them pays for another's memory,
threads or garbage.
"""

import importlib
import subprocess
import sys
from dataclasses import dataclass, field

from tests.bench.plan import NETWORK_ROWS
from tests.bench.subject import Subject

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own interpreter: its python3-* packages are seen by no other."""

_PROBE_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One implementation in one configuration. `needs` are the modules whose absence is the reason to leave it out."""

    name: str
    module: str
    factory: str
    needs: tuple[str, ...]
    options: dict[str, object] = field(default_factory=dict)
    rows: tuple[str, ...] = (*NETWORK_ROWS, "delay")
    quick_rows: tuple[str, ...] | None = None
    """The rows of a quick run, where they are fewer."""

    uvloop: bool = False
    interpreter: str = sys.executable

    def build(self) -> Subject:
        """Return the subject; only in a process of the right interpreter."""
        subject = getattr(importlib.import_module(self.module), self.factory)(**self.options)
        assert isinstance(subject, Subject)
        return subject

    def absent(self) -> str | None:
        """Return why it cannot run here, or None."""
        probe = "; ".join(f"import {module}" for module in self.needs)
        try:
            asked = subprocess.run(
                [self.interpreter, "-c", probe], capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
            )
        except OSError as error:
            return f"no interpreter: {error.strerror}"
        if asked.returncode == 0:
            return None
        lines = asked.stderr.strip().splitlines()
        return lines[-1] if lines else f"the import ended with status {asked.returncode}"


_RIVALS = "tests.bench.rivals"
_SWIFT_ROWS = ("get", "put", "flood")

ENTRIES = (
    Entry(
        name="peerd",
        module=f"{_RIVALS}.peerd_network",
        factory="PeerdNetwork",
        needs=("peerd.daemon", "uvloop"),
        options={"memory": True},
        uvloop=True,
    ),
    Entry(
        name="peerd, synced store",
        module=f"{_RIVALS}.peerd_network",
        factory="PeerdNetwork",
        needs=("peerd.daemon", "uvloop"),
        options={"memory": False},
        rows=("put",),
        quick_rows=(),
        uvloop=True,
    ),
    Entry("kademlia k=8", f"{_RIVALS}.stock_kademlia", "StockKademlia", ("kademlia",), {"ksize": 8}),
    Entry(
        name="kademlia k=20",
        module=f"{_RIVALS}.stock_kademlia",
        factory="StockKademlia",
        needs=("kademlia",),
        options={"ksize": 20},
        quick_rows=_SWIFT_ROWS,
    ),
    Entry(
        name="kademlia k=8, uvloop",
        module=f"{_RIVALS}.stock_kademlia",
        factory="StockKademlia",
        needs=("kademlia", "uvloop"),
        options={"ksize": 8},
        rows=_SWIFT_ROWS,
        quick_rows=(),
        uvloop=True,
    ),
    Entry(
        name="kademlia k=20, uvloop",
        module=f"{_RIVALS}.stock_kademlia",
        factory="StockKademlia",
        needs=("kademlia", "uvloop"),
        options={"ksize": 20},
        rows=_SWIFT_ROWS,
        quick_rows=(),
        uvloop=True,
    ),
    Entry("libtorrent", f"{_RIVALS}.libtorrent_dht", "LibtorrentDht", ("libtorrent",)),
    Entry(
        "OpenDHT", f"{_RIVALS}.open_dht", "OpenDht", ("opendht",), quick_rows=NETWORK_ROWS, interpreter=SYSTEM_PYTHON
    ),
)


def rows_of(chosen: Entry, *, quick: bool) -> tuple[str, ...]:
    """Return the rows that an entry is measured on."""
    return chosen.quick_rows if quick and chosen.quick_rows is not None else chosen.rows


def entry(name: str) -> Entry:
    """Return the entry of that name."""
    return next(known for known in ENTRIES if known.name == name)

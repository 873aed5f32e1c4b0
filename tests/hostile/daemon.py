"""A real daemon that lies: `python -m tests.hostile.daemon --liar MODULE:CLASS [--clan FILE] -- <flags of peerd>`.

Everything is as in `peerd` but for the liar, which is put into the peer once it has started. Several `--liar` make a
mixture. Without `--clan` it is alone.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from peerd import daemon
from peerd.__main__ import status
from peerd.kad.contact import Address
from peerd.node.peer import Peer
from tests.hostile.base import Liar
from tests.hostile.clan import Clan


def liar_of(plugin: str) -> type[Liar]:
    """Return the class that `module:class` names."""
    module, _, name = plugin.partition(":")
    found: type[Liar] = getattr(importlib.import_module(module), name)
    return found


def hostile(liars: Sequence[type[Liar]], clan: Clan) -> type[Peer]:
    """Return a class of peers that lie."""

    class HostilePeer(Peer):
        async def start(self) -> None:
            await super().start()
            for liar in liars:
                liar().install(self._core, clan)

        def own_address(self, address: Address) -> None:
            super().own_address(address)
            if ":" not in address[0]:
                clan.enrol(self.peer_id, (address[0], self.addresses[0][1]))

    return HostilePeer


def main(argv: Sequence[str]) -> int:
    """Run the daemon; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.daemon", description=__doc__)
    parser.add_argument("--liar", action="append", required=True, type=liar_of)
    parser.add_argument("--clan", type=Path)
    parser.add_argument("flags", nargs="*")
    told = parser.parse_args(argv)
    setattr(daemon, "Peer", hostile(told.liar, Clan(path=told.clan)))  # noqa: B010  what `run` makes
    return status(told.flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

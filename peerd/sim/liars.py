"""Who of a run's peers lies, drawn by its seed, and how: by plug-ins, which are no part of this package.

Not here: the lies (a plug-in's), and that only the honest are asked and judged (requests, checks).
"""

import importlib
from collections.abc import Callable
from typing import Any

from peerd.errors import UsageError
from peerd.node.peer import Peer
from peerd.sim.scenario import Liars, Scenario
from peerd.sim.world import BOOTSTRAP_HOSTS, World

Outfit = Callable[[Peer], None]


class Casting:
    """Says for each of a scenario's first peers whether it lies, and how.

    Those through whom the others join are configured by people, who choose whom they trust: they are honest, unless
    there are not enough others.
    """

    def __init__(self, world: World, scenario: Scenario) -> None:
        counts = [_count(entry, scenario.peers) for entry in scenario.liars]
        if sum(counts) > scenario.peers:
            raise UsageError(f"scenario: {sum(counts)} liars among {scenario.peers} peers")
        first = min(BOOTSTRAP_HOSTS, scenario.peers - sum(counts))
        drawn = iter(world.chance.rng("liars").sample(range(first, scenario.peers), sum(counts)))
        shared: dict[str, Any] = {}
        self._outfits: dict[int, Outfit] = {}
        for entry, count in zip(scenario.liars, counts, strict=True):
            outfit = _from(world, entry, _outfit(entry.plugin, shared))
            self._outfits.update((next(drawn), outfit) for _ in range(count))

    def outfit(self, index: int) -> Outfit | None:
        """Return what makes a liar of the peer of that number; None where it is honest."""
        return self._outfits.get(index)


def _count(entry: Liars, peers: int) -> int:
    if (entry.count is None) == (entry.share is None):
        raise UsageError("scenario: liars have either a count or a share")
    return entry.count if entry.count is not None else round((entry.share or 0.0) * peers)


def _outfit(plugin: str, shared: dict[str, Any]) -> Outfit:
    if not plugin:
        return lambda peer: None
    module, _, attribute = plugin.partition(":")
    try:
        outfit: Outfit = getattr(importlib.import_module(module), attribute).outfit(shared)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"scenario: no plug-in {plugin!r}: {error}", hint="MODULE:ATTRIBUTE, by PYTHONPATH") from error
    return outfit


def _from(world: World, entry: Liars, outfit: Outfit) -> Outfit:
    """Return what makes a liar of a peer at once, or when the time has come."""

    def put_on(peer: Peer) -> None:
        wait_s = entry.from_s - world.loop.time()
        if wait_s > 0:
            world.loop.call_later(wait_s, outfit, peer)
        else:
            outfit(peer)

    return put_on

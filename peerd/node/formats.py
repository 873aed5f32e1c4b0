"""The formats of the field, as one part of a Peer: CAR files in and out, and what the gateway reads."""

from collections.abc import AsyncIterator

from peerd.node import results
from peerd.node.core import Core
from peerd.node.digests import Digests
from peerd.node.exporting import car
from peerd.node.gateway import Gateway
from peerd.node.get import Opened
from peerd.node.importing import import_car
from peerd.node.results import PutOptions


class Formats:
    """What others' tools write and read, of one peer."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.gateway = Gateway(core)
        self.digests = core.digests = Digests(core)

    def car(self, opened: Opened) -> AsyncIterator[bytes]:
        """Yield the whole DAG of something as a CAR."""
        return car(opened)

    async def import_car(self, body: AsyncIterator[bytes], options: PutOptions) -> results.Imported:
        """Store what a CAR holds, and add every root of it."""
        return await import_car(self._core, body, options)

"""Users who rely on one order: strong reads, writes, deletes and compare-and-set, and what each of them saw.

What they saw of a name must be what a single register could have shown (linear). An operation that failed without
saying that it did nothing may have taken effect, or take effect later. Not here: judging plain answers (requests).
"""

from collections.abc import AsyncIterator
from random import Random

from peerd.errors import ConflictError, NotFoundError, UsageError
from peerd.node.results import Consistency, GetOptions, PutOptions
from peerd.sim.host import Host
from peerd.sim.linear import Kind, Operation, unordered
from peerd.sim.requests import Requests
from peerd.sim.world import World

ABSENT = "none"
"""The version to be met where there must be nothing."""

# How often a writer of a counter tries again after another was faster, or its read failed.
TRIES_MAX = 40
SHOWN_OPERATIONS_MAX = 3


class Strong:
    """Asks, and writes down what was seen; `consistency` is another only to show that the checker sees it."""

    def __init__(self, world: World, requests: Requests, *, consistency: Consistency = "strong") -> None:
        self.histories: dict[str, list[Operation]] = {}
        self._world = world
        self._requests = requests
        self._consistency: Consistency = consistency
        self._count = 0

    async def work(self, host: Host, text: str, rng: Random) -> None:
        """Do one of the four, by chance."""
        draw = rng.random()
        if draw < 0.4:
            await self.read(host, text)
        elif draw < 0.65:
            await self.write(host, text, self._new(text))
        elif draw < 0.9:
            seen = await self.read(host, text)
            if seen is not None and host.answers:
                await self.write(host, text, self._new(text), seen=seen)
        else:
            await self.delete(host, text)

    async def increment(self, host: Host, text: str) -> bool:
        """Add one to a counter, reading and trying again where others were faster; return whether it was seen to."""
        for _ in range(TRIES_MAX):
            seen = await self.read(host, text) if host.answers else None
            if seen is None or not host.answers:
                return False
            value = int(seen[1] or b"0") + 1
            done = await self.write(host, text, b"%d" % value, seen=seen)
            if done is not False:
                return done is True
        return False

    # The single operations.

    async def read(self, host: Host, text: str) -> tuple[str, bytes | None] | None:
        """Return (version, value) as read, None where there was no answer."""
        assert host.peer is not None, "only a running peer is asked"
        began_s, peer = self._world.loop.time(), host.peer

        async def opened() -> tuple[str, bytes | None]:
            try:
                found = await peer.open(text, GetOptions(consistency=self._consistency))
            except NotFoundError:
                return ABSENT, None
            assert isinstance(found.info.version, str), "what has a name has a version"
            return found.info.version, b"".join([piece async for piece in found.body()])

        seen, _ = await self._requests.outcome(host, "strong", text, opened())
        if seen is not None:
            self._note(host, "read", text, began_s, value=seen[1])
        return seen

    async def write(
        self, host: Host, text: str, value: bytes, *, seen: tuple[str, bytes | None] | None = None
    ) -> bool | None:
        """Write, only over what was `seen` where that is given; return whether it did, None where nobody knows."""
        assert host.peer is not None, "only a running peer is asked"
        began_s, name = self._world.loop.time(), self._requests.ledger.name(text)
        name.tried[value] = None
        options = PutOptions(consistency=self._consistency, if_version=seen[0] if seen is not None else None)
        work = host.peer.put(text, _once(value), form="file", options=options)
        put, error = await self._requests.outcome(host, "strong", text, work)
        kind: Kind = "write" if seen is None else "cas"
        expected = seen[1] if seen is not None else None
        refused = seen is not None and isinstance(error, ConflictError)
        known = put is not None or refused
        self._note(host, kind, text, began_s, known=known, value=value, expected=expected, done=not refused)
        if put is not None:
            self._requests.acknowledge(name, value, put, None)
        return (put is not None) if known else None

    async def delete(self, host: Host, text: str) -> None:
        """Delete."""
        assert host.peer is not None, "only a running peer is asked"
        began_s, name = self._world.loop.time(), self._requests.ledger.name(text)
        name.unsure_deletes += 1
        work = host.peer.remove(text, PutOptions(consistency=self._consistency))
        removed, error = await self._requests.outcome(host, "strong", text, work)
        absent = isinstance(error, NotFoundError)
        self._note(host, "delete", text, began_s, known=removed is not None or absent, done=not absent)
        name.unsure_deletes -= removed is not None or absent
        if removed is not None:
            self._requests.acknowledge(name, None, removed, None)

    # What was seen.

    def _note(
        self,
        host: Host,
        kind: Kind,
        text: str,
        began_s: float,
        *,
        known: bool = True,
        value: bytes | None = None,
        expected: bytes | None = None,
        done: bool = True,
    ) -> None:
        returned_s = self._world.loop.time() if known else None
        operation = Operation(kind, began_s, returned_s, value, expected, done, host.name)
        self.histories.setdefault(text, []).append(operation)

    def check(self) -> None:
        """Tell of every name whose history no register could have shown."""
        for text, history in self.histories.items():
            try:
                beyond = unordered(history)
            except UsageError as error:
                self._requests.violate(f"{text}: {error.message}")
                continue
            if beyond:
                shown = "; ".join(operation.text() for operation in beyond[:SHOWN_OPERATIONS_MAX])
                self._requests.violate(
                    f"{text} is not linearizable: {len(beyond)} of {len(history)} operations fit nowhere, first {shown}"
                )

    def _new(self, text: str) -> bytes:
        self._count += 1
        return f"{text} {self._count}".encode()


async def _once(value: bytes) -> AsyncIterator[bytes]:
    yield value

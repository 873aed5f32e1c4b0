"""A peer in memory with the node's interface: what the API is tested against, and what it is told to do wrong."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msgspec import UNSET

from peerd.content.cid import DAG_PB, RAW, Cid, find_cid
from peerd.errors import ConflictError, NotFoundError, PeerdError, TimedOutError, UsageError
from peerd.node import results
from peerd.node.events import Event
from peerd.node.results import GetOptions, PutOptions
from peerd.node.versions import Told

ID = "a" * 52
PIECE_BYTES = 1000


@dataclass
class Stored:
    data: bytes
    cid: str
    kind: results.Kind
    version: str


@dataclass
class Opened:
    peer: "DoublePeer"
    info: results.Get
    kind: results.Kind
    size: int
    data: bytes

    async def body(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        data = self.data[offset : None if length is None else offset + length + self.peer.body_excess]
        async for piece in self._pieces(data):
            yield piece

    async def tar(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces(self.data):
            yield piece

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        self.peer.bodies_open += 1
        try:
            for start in range(0, len(data), self.peer.piece_bytes):
                if self.peer.break_at is not None and start >= self.peer.break_at:
                    raise self.peer.break_with
                self.peer.pieces_read += 1
                yield data[start : start + self.peer.piece_bytes]
        finally:
            self.peer.bodies_open -= 1


class Versions:
    """The versions of any key, told as a test says; the first is what is there."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.coming: asyncio.Queue[Told | None] = asyncio.Queue()
        self.open = 0

    @asynccontextmanager
    async def watch(
        self, target: str, *, after: str | None = None, timeout_s: float = 0.0
    ) -> AsyncIterator[AsyncIterator[Told]]:
        if after == "wrong":
            raise UsageError("that is no version")
        self.asked.append((target, after))
        self.open += 1
        try:
            yield self._tell(after or "v0")
        finally:
            self.open -= 1

    async def _tell(self, first: str) -> AsyncIterator[Told]:
        yield Told(first, None)
        while (told := await self.coming.get()) is not None:
            yield told


class Revoking:
    """The peer's revocations, as the API asks for them."""

    def __init__(self) -> None:
        self.revoked: list[results.Revoked] = []

    def listed(self) -> list[results.Revoked]:
        return self.revoked

    async def revoke(self, text: bytes) -> results.Revoked:
        if not text.startswith(b"95"):
            raise UsageError("this is no revocation of this network")
        self.revoked.append(results.Revoked(id=ID, reason="stolen", at_s=1.5, revocation=text.decode()))
        return self.revoked[-1]


@dataclass
class DoublePeer:
    id_text: str = ID
    revoking: Revoking = field(default_factory=Revoking)
    versions: Versions = field(default_factory=Versions)
    names: dict[str, Stored] = field(default_factory=dict)
    content: dict[str, Stored] = field(default_factory=dict)
    locks: dict[str, int] = field(default_factory=dict)
    fence: int = 6
    pins: set[str] = field(default_factory=set)
    drop: list[str] = field(default_factory=list)
    put_calls: list[tuple[str | None, str, PutOptions]] = field(default_factory=list)
    get_calls: list[tuple[str, GetOptions]] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    error: BaseException | None = None
    fail: Exception | None = None
    fail_before_body: PeerdError | None = None
    break_at: int | None = None
    break_with: Exception = field(default_factory=lambda: NotFoundError("gone"))
    piece_bytes: int = PIECE_BYTES
    body_excess: int = 0
    pieces_read: int = 0
    bodies_open: int = 0
    unready: str | None = None
    audited: "list[list[results.AuditedKey]]" = field(default_factory=list)
    waiting: asyncio.Event | None = None
    taking: asyncio.Event | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    happened: "asyncio.Queue[Event | None]" = field(default_factory=asyncio.Queue)

    async def put(self, name: str, body: AsyncIterator[bytes], *, form: str, options: PutOptions) -> results.Put:
        if find_cid(name) is not None:
            raise UsageError("a content id cannot be a key")
        self._check(name, options)
        stored, created = await self._take(body, form), name not in self.names
        self.put_calls.append((name, form, options))
        stored.version = f"{len(self.put_calls)}.{stored.cid[-8:]}"
        self.names[name] = stored
        return self._put(stored, key=name, version=stored.version, created=created)

    async def add(self, body: AsyncIterator[bytes], *, form: str, options: PutOptions) -> results.Put:
        stored = await self._take(body, form)
        self.put_calls.append((None, form, options))
        return self._put(stored)

    async def remove(self, target: str, options: PutOptions) -> results.Put:
        self._check(target, options)
        self.put_calls.append((target, "remove", options))
        stored = self.names.pop(target, None) or self.content.pop(target, None)
        if stored is None:
            raise NotFoundError(f"not found: {target}")
        return self._put(stored, key=target, version=stored.version or "v", created=False)

    async def open(self, target: str, options: GetOptions) -> Opened:
        self._raise()
        self.get_calls.append((target, options))
        stored = self._find(target)
        named = target in self.names
        info = results.Get(
            cid=stored.cid,
            kind=stored.kind,
            size=len(stored.data),
            source="local",
            hops=0,
            elapsed_ms=0.5,
            key=target if named else UNSET,
            version=stored.version if named else UNSET,
            writer=ID if named else UNSET,
        )
        return Opened(self, info, stored.kind, len(stored.data), stored.data)

    async def find(self, target: str) -> results.Find:
        self._raise()
        await self._wait()
        return results.Find(hops=[results.Hop(id=ID, asked_ms=0.0, answered_ms=1.5, result=f"has {target}")])

    async def stat(self, target: str) -> results.Stat:
        self._raise()
        await self._wait()
        stored = self._find(target)
        return results.Stat(
            key=target,
            cid=stored.cid,
            kind=stored.kind,
            size=len(stored.data),
            version=stored.version,
            writer=ID,
            copies=1,
            copies_wanted=1,
            holders=[results.Holder(id=ID, address="127.0.0.1:1", kind="replica", version=stored.version)],
            conflicts=[],
        )

    async def history(self, name: str) -> list[results.HistoryEntry]:
        self._raise()
        stored = self._find(name)
        size = len(stored.data)
        return [results.HistoryEntry(version=stored.version, writer=ID, cid=stored.cid, size=size, deleted=False)]

    async def audit_pages(self, name: str | None) -> AsyncIterator[Sequence[results.AuditedKey]]:
        self._raise()
        self.bodies_open += 1
        try:
            for page in self.audited:
                if not page:
                    await asyncio.Event().wait()
                yield [each for each in page if name in (None, each.key)]
            if self.break_at is not None:
                raise self.break_with
        finally:
            self.bodies_open -= 1

    async def lock(self, name: str, timeout_s: float) -> results.Lock:
        self._raise()
        if name in self.locks:
            raise TimedOutError("the lock is held by another")
        self.started.set()
        try:
            await self._wait()
        except asyncio.CancelledError as error:
            self.error = error
            raise
        finally:
            self.ended.set()
        self.fence += 1
        self.locks[name] = self.fence
        return results.Lock(name=name, fence=self.fence, lease_s=15.0)

    async def renew_lock(self, name: str, fence: int) -> results.Lock:
        if self.locks.get(name) != fence:
            raise ConflictError("the lock is lost")
        return results.Lock(name=name, fence=fence, lease_s=15.0)

    async def unlock(self, name: str, fence: int) -> results.Lock:
        held = await self.renew_lock(name, fence)
        del self.locks[name]
        return held

    def abandon_lock(self, name: str, fence: int) -> None:
        assert self.locks.pop(name) == fence

    async def pin(self, target: str) -> results.Pinned:
        self._raise()
        self.pins.add(target)
        return results.Pinned(cid=self._find(target).cid, size=1, pinned=True)

    async def unpin(self, target: str) -> results.Pinned:
        self.pins.discard(target)
        return results.Pinned(cid=self._find(target).cid, size=1, pinned=False)

    async def status(self) -> results.Status:
        self._raise()
        return results.Status(
            id=ID,
            network="default",
            version="1",
            uptime_s=1.5,
            listen="127.0.0.1:7433",
            contacts=2,
            records=3,
            blobs=4,
            storage=results.Storage(used_bytes=10, quota_bytes=100, pinned_bytes=1, replica_bytes=2, cache_bytes=3),
            cache=results.CacheCounts(hits=5, misses=6),
            repair=results.Repair(missing_copies=0, lag_s=0.0),
            rejected={"replay": 7},
            degraded=["disk_full"],
            health="all is well",
            coordinators=[],
            trust=results.TrustCounts(),
        )

    def evidence(self) -> list[results.Evidence]:
        return [results.Evidence(id=ID, kind="broken_promise", evidence="00ff")]

    async def peers(self) -> list[results.PeerInfo]:
        return [
            results.PeerInfo(
                id=ID,
                address="127.0.0.1:1",
                rtt_ms=None,
                source="mdns",
                last_seen_s=1.0,
                verified=True,
                state="alive",
            )
        ]

    async def forget(self, peer_text: str) -> results.Forgotten:
        self._raise()
        return results.Forgotten(id=peer_text, forgotten=True)

    async def collect(self) -> results.Collected:
        self._raise()
        return results.Collected(freed_bytes=5, roots=1, blocks=2, records=3)

    async def verify(self) -> results.Verified:
        self._raise()
        await self._wait()
        return results.Verified(blocks=9, records=3, damaged=2, mended=1, lost=1)

    async def ping(self, peer_text: str) -> results.Ping:
        self._raise()
        return results.Ping(id=peer_text, address="127.0.0.1:1", rtt_ms=0.2)

    async def events(self) -> AsyncIterator[Event]:
        self.bodies_open += 1
        try:
            while (event := await self.happened.get()) is not None:
                yield event
        finally:
            self.bodies_open -= 1

    def set_drop_list(self, drop: list[str]) -> None:
        self.drop = drop

    def keep(self, name: str, data: bytes, *, kind: results.Kind = "file", version: str = "v1") -> Stored:
        """Have `data` under `name` and under its content id."""
        stored = Stored(data, cid_of(data, kind), kind, version)
        self.names[name] = stored
        self.content[stored.cid] = Stored(data, stored.cid, kind, "")
        return stored

    async def _take(self, body: AsyncIterator[bytes], form: str) -> Stored:
        if self.fail_before_body is not None:
            raise self.fail_before_body
        self._raise()
        data = bytearray()
        self.started.set()
        try:
            async for chunk in body:
                self.chunks.append(len(chunk))
                data += chunk
                if self.taking is not None:
                    await self.taking.wait()
            await self._wait()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()
        stored = Stored(bytes(data), cid_of(bytes(data), "file"), "directory" if form == "tar" else "file", "")
        self.content[stored.cid] = stored
        return stored

    def _check(self, name: str, options: PutOptions) -> None:
        self._raise()
        if options.if_version is not None:
            present = self.names[name].version if name in self.names else "none"
            if options.if_version != ("*" if options.if_version == "*" and name in self.names else present):
                raise ConflictError("the version is another")

    def _raise(self) -> None:
        if self.fail is not None:
            raise self.fail

    async def _wait(self) -> None:
        if self.waiting is not None:
            await self.waiting.wait()

    def _find(self, target: str) -> Stored:
        stored = self.names.get(target) or self.content.get(target)
        if stored is None:
            raise NotFoundError(f"not found: {target}", hint="put it first")
        return stored

    def _put(self, stored: Stored, *, created: bool = True, **named: str) -> results.Put:
        return results.Put(
            cid=stored.cid,
            size=len(stored.data),
            kind=stored.kind,
            copies=1,
            copies_wanted=1,
            holders=[ID],
            created=created,
            elapsed_ms=1.0,
            **named,
        )

    # Last, because its name hides the type from what follows in the class.
    async def list(self, target: str | None, prefix: str = "") -> list[results.Entry]:
        self._raise()
        if target is not None:
            stored = self._find(target)
            return [results.Entry(name="entry", cid=stored.cid, size=1, kind="symlink")]
        named = ((name, stored) for name, stored in self.names.items() if name.startswith(prefix))
        return [results.Entry(name=name, cid=s.cid, size=len(s.data), kind=s.kind) for name, s in named]


def cid_of(data: bytes, kind: str) -> str:
    return Cid(RAW if kind == "file" else DAG_PB, hashlib.sha256(data).digest()).text


def tar_of(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()

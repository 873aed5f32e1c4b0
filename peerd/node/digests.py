"""Files by plain digest: who put a file, or read one by its digest, says of which root it is the SHA-256.

Such a word is signed, ends, and is never believed: what it leads to is hashed before it counts. Small files are hashed
before the first byte is given out, so that another's word is tried where one lied; of large ones the last piece is held
back until the whole is known to be right. A file of one raw block has its digest in its CID.
"""

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace

from peerd.content.cid import RAW, Cid
from peerd.errors import (
    IntegrityError,
    NoRoomError,
    NotFoundError,
    PeerdError,
    StoreError,
    TimedOutError,
    UsageError,
    WireError,
)
from peerd.ids import Key, PeerId
from peerd.node.asking import Asking
from peerd.node.core import Core
from peerd.node.get import Opened, open_target
from peerd.node.ingest import OFFLOAD_MIN_BYTES
from peerd.node.names import Digest
from peerd.node.nearest import holders_of
from peerd.node.placing import inline_value
from peerd.node.providing import FIND_TIMEOUT_S, LIFE_IN_REPUBLISH_INTERVALS
from peerd.node.results import GetOptions
from peerd.node.whole_digest import WholeDigest
from peerd.records.alias import Alias, aliases, verify_announcement
from peerd.records.provider import GONE
from peerd.wire import limits
from peerd.wire.messages import AddProvider, FindProviders
from peerd.wire.messages import Providers as ProvidersReply

VERIFIED_FIRST_BYTES = 64 * 1024 * 1024
"""Up to this a file is read whole before any of it is given out: fast enough that nobody gives up waiting."""

CANDIDATES_MAX = 4
"""Roots that are tried for one digest: each that is wrong costs reading it."""

WRONG_MAX = 4096
"""Pairs of a digest and a root that is not its file, as seen here; who makes ever new ones pushes out old ones."""

PAGE = 256


class Digests:
    """What this peer knows and tells of plain digests."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wrong: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    async def note(self, digest: bytes, root: Cid) -> None:
        """Note what this peer has seen to be the root of the file of a digest, and tell the peers nearest to it."""
        if root.codec == RAW:
            return
        try:
            await self._core.store.note_digest(digest, root.to_bytes())
        except (NoRoomError, StoreError):
            return  # a help; the content has its root
        self._core.tasks.spawn(self._announce(digest, root), "alias")

    async def announce_all(self) -> None:
        """Tell again what was noted of files that are here."""
        after = None
        while rows := await self._core.store.digests(after, PAGE):
            for row in rows:
                root = await self._core.store.root(row.root)
                if root is not None and root.complete:
                    await self._announce(row.digest, Cid.from_bytes(row.root))
            after = rows[-1].digest

    async def open(self, digest: Digest, options: GetOptions) -> Opened:
        """Find the file of a digest and return it ready to be read.

        Raises what opening a root raises, and IntegrityError where all that is said to be that file is another.
        """
        core, raw = self._core, Cid(RAW, digest.digest)
        noted = await core.store.digest_root(digest.digest)
        if noted is not None:
            return await open_target(core, Cid.from_bytes(noted).text, options)
        if await core.store.block(raw) is not None or await inline_value(core, raw.to_bytes()) is not None:
            return await open_target(core, raw.text, options)
        failed: PeerdError | None = None
        for root in await self._said(digest.digest):
            if root == raw:
                return await open_target(core, raw.text, options)
            try:
                return await self._open(digest, root, options)
            except (NotFoundError, TimedOutError, IntegrityError, UsageError) as error:
                failed = failed or error
        if failed is not None:
            raise failed
        raise await self._missing(digest, raw, options)

    async def verify(self, opened: Opened) -> None:
        """Read a file whole and see that it has the digest that is expected; raises IntegrityError where not."""
        async for _ in self.checked(opened):
            pass

    async def checked(self, opened: Opened) -> AsyncIterator[bytes]:
        """Yield a file whole; raises IntegrityError before its last piece where it has not the expected digest."""
        expected, opened.expected = opened.expected, None
        assert expected is not None, "it was asked for by its digest"
        whole, last = WholeDigest(opened.size), b""
        async for piece in opened.body():
            if last:
                yield last
            await whole.feed(piece, self._core.environment.offload if len(piece) >= OFFLOAD_MIN_BYTES else None)
            last = piece
        if whole.digest() != expected:
            opened.expected = expected
            self._refuse(expected, opened.root)
            raise _another(expected, opened.root)
        await self.note(expected, opened.root)
        if last:
            yield last

    async def _open(self, digest: Digest, root: Cid, options: GetOptions) -> Opened:
        if (digest.digest, root.to_bytes()) in self._wrong:
            raise _another(digest.digest, root)
        opened = await open_target(self._core, root.text, options)
        if opened.kind != "file":
            raise _another(digest.digest, root)
        opened.expected = digest.digest
        if opened.size > VERIFIED_FIRST_BYTES:
            return opened
        await self.verify(replace(opened))
        return await open_target(self._core, root.text, options)

    def _refuse(self, digest: bytes, root: Cid) -> None:
        self._core.counts.rejected["wrong_alias"] += 1
        self._wrong[digest, root.to_bytes()] = None
        if len(self._wrong) > WRONG_MAX:
            self._wrong.popitem(last=False)

    async def _missing(self, digest: Digest, raw: Cid, options: GetOptions) -> PeerdError:
        try:
            await open_target(self._core, raw.text, options)
        except NotFoundError:
            return NotFoundError(f"not found: {digest.text}")
        except PeerdError as error:
            return error
        return TimedOutError(f"{digest.text} was there a moment ago: ask again")

    async def _said(self, digest: bytes) -> list[Cid]:
        """Return what peers say to be the root of a digest: its own block first, then what most of them say."""
        core = self._core
        said: dict[PeerId, Cid] = {}
        for raw in await core.store.providers(Key(digest), core.store.now_s()):
            self._take(said, digest, raw)
        holders = await holders_of(core, digest)
        with Asking(core.endpoint, timeout_s=FIND_TIMEOUT_S) as asking:
            for contact in (*holders.contacts, *holders.doubtful):
                asking.ask(contact, FindProviders, digest, silent_after_s=core.silent_after_s(contact))
            waiting = {contact.peer for contact in holders.contacts or holders.doubtful}
            while waiting:
                answer = await asking.next()
                if answer is None:
                    break
                waiting.discard(answer.contact.peer)
                if isinstance(answer.reply, ProvidersReply):
                    for raw in answer.reply.providers:
                        self._take(said, digest, raw)
        votes = Counter(said.values())
        ranked = sorted(votes, key=lambda root: (root.codec != RAW, -votes[root], root.to_bytes()))
        return ranked[:CANDIDATES_MAX]

    def _take(self, said: dict[PeerId, Cid], digest: bytes, raw: bytes) -> None:
        core = self._core
        try:
            statement = verify_announcement(raw, core.verifier)
        except WireError as error:
            core.counts.rejected[error.reason] += 1
            return
        peer, root = PeerId(statement.provider), Cid.from_bytes(statement.root)
        if statement.key != digest or statement.kind == GONE or core.trust.is_out(peer):
            return
        if isinstance(statement, Alias) or root.codec == RAW:
            said[peer] = root

    async def _announce(self, digest: bytes, root: Cid) -> None:
        core = self._core
        life_s = int(core.settings.republish_interval_s * LIFE_IN_REPUBLISH_INTERVALS) + 60
        try:
            stamp = await core.store.next_stamp()
            statement = Alias(1, digest, root.to_bytes(), core.peer, stamp, min(life_s, limits.PROVIDER_LIFE_MAX_S))
            raw = aliases.sign(core.identity, statement)
            await core.store.put_provider(Key(digest), core.peer, raw, core.store.now_s() + statement.life_s)
        except (NoRoomError, StoreError):
            return
        with Asking(core.endpoint, timeout_s=FIND_TIMEOUT_S) as asking:
            for contact in (await holders_of(core, digest)).contacts:
                asking.ask(contact, AddProvider, raw, silent_after_s=0)
            while await asking.next() is not None:
                pass


def _another(digest: bytes, root: Cid) -> IntegrityError:
    return IntegrityError(f"what is said to have the digest sha256:{digest.hex()} has another: {root}")

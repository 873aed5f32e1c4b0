"""Looking an entry of a build cache up: who has it is asked all at once, and what nobody tells in time is a miss.

A build waits for each answer, and a miss costs it one compilation, so nothing is asked twice and nobody who is silent
is waited for longer than his measured round trips. Not here: fetching the content (entry_fetch).
"""

import asyncio
from dataclasses import dataclass, field, replace

from peerd.errors import StoreError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.entries import EntryRow
from peerd.kad.contact import Contact
from peerd.node.asking import Answer, Asking
from peerd.node.core import Core
from peerd.node.entry_names import EntryName
from peerd.node.nearest import holders_of
from peerd.records.entry import CONTENT, GONE, INLINE, Entry, entries
from peerd.wire.messages import EntryFound, FindEntry

LOOKUP_S = 0.15
"""What a look-up may take in all: with the rest of the answer a miss is told within 200 ms."""

LARGE_BYTES = 4 * 1024 * 1024
"""For content from here on all that answer are heard, so that it comes from several at once."""


@dataclass(slots=True)
class FoundEntry:
    """The newest that was found, how long it lives, and who said to have its content."""

    body: Entry
    raw: bytes
    left_s: int
    sources: list[Contact] = field(default_factory=list)


async def look_up(core: Core, name: EntryName, known: FoundEntry | None, *, patient: bool = False) -> FoundEntry | None:
    """Return what others have of an entry; None where nobody tells in LOOKUP_S, or it was deleted.

    `known` is what is known here of an entry whose content is not here; `patient`, all that answer are heard.
    """
    looking = _Looking(core, name, known, patient=patient)
    try:
        async with asyncio.timeout(LOOKUP_S):
            await looking.run()
    except (TimeoutError, StoreError):
        pass
    found = looking.found
    if found is None or found.body.kind == GONE or (found.body.kind == CONTENT and not found.sources):
        return None
    return found


class _Looking:
    """One look-up."""

    def __init__(self, core: Core, name: EntryName, known: FoundEntry | None, *, patient: bool) -> None:
        self._core = core
        self._patient = patient
        self._name = name
        self._key: Key = name.key(core.identity.network)
        self._asked: set[PeerId] = set()
        self.found = replace(known, sources=[]) if known is not None else None

    async def run(self) -> None:
        core = self._core
        holders = await holders_of(core, self._key)
        with Asking(core.endpoint, timeout_s=LOOKUP_S) as asking:
            for contact in holders.contacts:
                self._ask(asking, contact)
            waiting = len(holders.contacts)
            for contact in holders.doubtful:  # nobody waits for them
                self._ask(asking, contact)
            doubtful = {contact.peer for contact in holders.doubtful}
            while not self._enough():
                if waiting == 0:
                    writer = self._writer()
                    if writer is None:
                        return
                    self._ask(asking, writer)
                    waiting = 1
                answer = await asking.next()
                if answer is None:
                    return
                waiting -= answer.contact.peer not in doubtful
                self._take(answer)

    def _ask(self, asking: Asking, contact: Contact) -> None:
        self._asked.add(contact.peer)
        silent_s = self._core.silent_after_s(contact)
        asking.ask(contact, FindEntry, self._key, silent_after_s=silent_s)

    def _enough(self) -> bool:
        found = self.found
        if found is None or found.body.kind == GONE or self._patient:
            return False
        return found.body.kind == INLINE or (bool(found.sources) and found.body.size < LARGE_BYTES)

    def _writer(self) -> Contact | None:
        """Return who wrote what was found, where none of those asked has it and the writer was not asked."""
        if self.found is None or self.found.sources or self.found.body.kind != CONTENT:
            return None
        writer = PeerId(self.found.body.writer)
        return None if writer in self._asked or writer == self._core.peer else self._core.members.contact(writer)

    def _take(self, answer: Answer) -> None:
        reply = answer.reply
        if reply is None:
            return
        try:
            if not isinstance(reply, EntryFound):
                raise WireError("reply_kind")
            if reply.entry:
                self._hear(answer.contact, reply)
        except WireError as error:
            self._core.counts.rejected[error.reason] += 1

    def _hear(self, contact: Contact, reply: EntryFound) -> None:
        body = check_entry(self._core, reply.entry)
        if body.key != self._key or not self._name.fits(body):
            raise WireError("other_entry")
        left_s = min(reply.left_s or body.life_s, body.life_s)
        if self.found is None or body.order > self.found.body.order:
            self.found = FoundEntry(body, reply.entry, left_s)
        if reply.has and body.order == self.found.body.order:
            self.found.sources.append(contact)


def kept_entry(core: Core, row: EntryRow | None) -> Entry | None:
    """Return the entry of a row of our own store, None where the disk has changed it or there is none."""
    try:
        return entries.verify(row.statement, core.verifier) if row is not None else None
    except WireError:
        return None


def check_entry(core: Core, raw: bytes) -> Entry:
    """Return the entry of a statement from outside; raises WireError, also where its writer is out."""
    body = entries.verify(raw, core.verifier)
    if core.trust.is_out(PeerId(body.writer)):
        raise WireError("out")
    return body

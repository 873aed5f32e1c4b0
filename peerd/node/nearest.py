"""Who is responsible for a key: at once from the members where everybody is known, else by an iterative lookup.

The search itself is kad.lookup's, over disjoint paths; this module asks what it says and tells it what came.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from peerd.errors import UnreachableError, WireError
from peerd.ids import distance
from peerd.kad.contact import Contact, unpack_contacts
from peerd.kad.crowd import REGION_MAX, Responsible, Rule, divide, responsible
from peerd.kad.disjoint import PATHS, DisjointLookup
from peerd.kad.lookup import RESULT_COUNT, Hop, Outcome
from peerd.node.asking import Answer, Asking
from peerd.node.core import RECORD_HOLDERS, Core
from peerd.trust.quorum import ReadQuorum
from peerd.wire import limits
from peerd.wire.messages import FindNode, Nodes, Providers, Reply, Request, Value

SEEDS = 3 * RESULT_COUNT
# A search that liars may have led astray is done again, on suspicion only, over so many paths that each begin with one
# other peer chosen by chance: of a third that lie not all six are, and one honest beginning finds the honest.
PATHS_AGAIN = 6

OnReply = Callable[[Contact, Reply], str | None]
"""Told each reply of a search; returns what the trace should say of it, or None where the search may end."""


@dataclass(frozen=True, slots=True)
class Holders:
    """The peers nearest to a key, nearest first, ourselves apart; `ours` says that we are one of them."""

    contacts: list[Contact]
    ours: bool
    hops: int
    trace: list[Hop] = field(default_factory=list)
    doubtful: list[Contact] = field(default_factory=list)
    """Those of the nearest whose last request went unanswered: they are asked too, and nobody waits for them."""
    crowded: bool = False
    """More stand near the key than chance explains: these are all of its region (kad.crowd)."""
    waves: list[list[Contact]] = field(default_factory=list)
    """The contacts as they are to be read."""

    def seems_crowded(self, key: bytes, rule: Rule) -> bool:
        """Return whether the nearest that a search found stand nearer than chance explains."""
        return rule.is_crowded([distance(contact.place, key) for contact in self.contacts])

    @property
    def first(self) -> list[Contact]:
        """Those that are read first: of a crowded region some, else all."""
        return self.waves[0] if self.crowded and self.waves else self.contacts


async def holders_of(core: Core, key: bytes) -> Holders:
    """Return the peers that should hold `key`; in a network that is known whole no question is asked."""
    if core.members.complete:
        return _holders(core, key, core.members.responsible(key), RECORD_HOLDERS)
    found = await search(core, key, FindNode)
    rule = core.members.rule()
    return found if rule is None or not found.seems_crowded(key, rule) else await _region(core, key, found, rule)


async def _region(core: Core, key: bytes, nearest: Holders, rule: Rule) -> Holders:
    """Look beside a crowded key for the others of its region: of those at it most may name only themselves."""
    beside = await asyncio.gather(*(search(core, place, FindNode) for place in rule.beside(key)))
    known = {contact.peer: contact for each in (nearest, *beside) for contact in each.contacts}
    contacts = sorted(known.values(), key=lambda contact: distance(contact.place, key))
    found = responsible(contacts[:REGION_MAX], core.members.own_place, key, rule)
    return replace(nearest, contacts=found.contacts, ours=found.ours, crowded=found.crowded, waves=found.waves())


async def copy_holders_of(core: Core, key: bytes, copies: int) -> Holders:
    """Return the peers that should have `copies` copies of the content with this key; more where it is crowded."""
    if core.members.complete:
        return _holders(core, key, core.members.copy_holders(key, copies), copies)
    return await search(core, key, FindNode, count=copies)


def _holders(core: Core, key: bytes, found: Responsible, count: int) -> Holders:
    doubtful = core.members.doubtful(key, max(count, len(found.contacts) + found.ours))
    return Holders(found.contacts, found.ours, 1, [], doubtful, found.crowded, found.waves())


async def search(
    core: Core,
    key: bytes,
    kind: Callable[..., Request],
    *,
    count: int = RECORD_HOLDERS,
    on_reply: OnReply | None = None,
    after: Holders | None = None,
) -> Holders:
    """Look up the peers nearest to `key` with requests of `kind`, telling `on_reply` each reply.

    `after` a search that found nothing it begins with other peers, over more paths; what both found is returned.
    """
    lookup = DisjointLookup(
        key,
        core.members.closest(key, SEEDS) if after is None else _others(core, after),
        deadline=core.now() + core.settings.lookup_timeout_s,
        own=core.peer,
        paths=PATHS if after is None else PATHS_AGAIN,
        apart=after is not None,
        k=count,
    )
    core.members.table.touch(key, core.now())
    with Asking(core.endpoint, timeout_s=core.settings.request_timeout_s) as asking:
        while True:
            step = lookup.next(core.now())
            if isinstance(step, Contact):
                asking.ask(step, kind, key, silent_after_s=core.endpoint.roundtrips.hedge_s(step.peer))
                continue
            if lookup.outcome is not Outcome.RUNNING or lookup.only_slow_left:
                break
            answer = await asking.next()
            if answer is None:
                break
            if _take(core, lookup, answer, on_reply):
                lookup.finish()
    nearest = {contact.peer: contact for contact in (*lookup.closest(), *(after.contacts if after else ()))}
    ranked = sorted(nearest.values(), key=lambda contact: distance(contact.place, key))
    found = divide(ranked[:count], core.members.own_place, key, count)
    hops = max((lookup.hop(contact.peer) or 1 for contact in found.contacts), default=1)
    return Holders(found.contacts, found.ours, hops, lookup.trace, waves=found.waves())


def _others(core: Core, before: Holders) -> list[Contact]:
    """Return some members that were not asked before, by chance; any where all were."""
    asked = {hop.contact.peer for hop in before.trace}
    members = [contact for contact in core.members.alive() if contact.peer not in core.members.doubted]
    others = [contact for contact in members if contact.peer not in asked] or members
    core.environment.rng.shuffle(others)
    return others[:PATHS_AGAIN]


def _take(core: Core, lookup: DisjointLookup, answer: Answer, on_reply: OnReply | None) -> bool:
    """Tell the search one answer; return whether it may end."""
    peer = answer.contact.peer
    if answer.silent:
        lookup.on_slow(peer)
        return False
    if answer.reply is None:
        if isinstance(answer.error, UnreachableError):
            core.nobody_at(peer, answer.contact.address)
        lookup.on_failure(peer, core.now())
        return False
    try:
        contacts = contacts_in(core, answer.reply)
    except WireError as error:
        core.counts.rejected[error.reason] += 1
        lookup.on_failure(peer, core.now(), "malformed")
        return False
    told = on_reply(answer.contact, answer.reply) if on_reply is not None else "nodes"
    lookup.on_success(peer, contacts, core.now(), told or "found")
    return told is None


def contacts_in(core: Core, reply: Any) -> list[Contact]:
    """Return the contacts that a reply names, candidates only; raises WireError."""
    if not isinstance(reply, Nodes | Value | Providers):
        raise WireError("reply_kind")
    network = core.identity.network
    named = unpack_contacts(reply.contacts, limits.CONTACTS_MAX)
    now = core.now()
    found = []
    for peer, address in named:
        member = core.members.contact(peer)
        if member is not None or not core.absent.has(peer, address, now):
            found.append(member or Contact.of(network, peer, address))
    return found


def read_quorum(core: Core, holders: Holders) -> ReadQuorum:
    """Return what counts the answers of holders, we among them where we are one, to one read."""
    asked = [contact.peer for contact in holders.first]
    return ReadQuorum(
        [*asked, core.peer] if holders.ours else asked,
        crowded=holders.crowded,
        own=core.peer,
        is_doubted=core.trust.is_doubted,
    )

"""Who says to have content, or what a digest names, as this peer keeps it for others: whose word is kept, who is named.

A provider's statement costs its signer nothing, so what is kept of a key and what is answered is shared by address
group: no crowd of one place displaces or hides the others. Not here: announcing and asking (providing).
"""

from collections import Counter

from peerd.errors import RefusedError, WireError
from peerd.ids import Key, PeerId
from peerd.io.store.bounds import PROVIDERS_PER_KEY_MAX
from peerd.node.core import Core
from peerd.records.alias import is_sound, read_announcement, verify_announcement
from peerd.records.provider import CACHE, GONE, Provider, providers
from peerd.wire import limits

REFUSED_UNKNOWN = "unknown"


async def keep(core: Core, asker: PeerId, raw: bytes) -> None:
    """Keep a provider's statement in place of its last one.

    Raises WireError for what is none, RefusedError (`unknown`) where we never met the provider, (`withdrawn`) for a
    cached copy of what nobody promises any more; NoRoomError, StoreError.
    """
    statement = verify_announcement(raw, core.verifier)
    key, provider = Key(statement.key), PeerId(statement.provider)
    if core.trust.is_out(provider):
        raise WireError("out")
    if provider != asker and not core.members.met(provider):
        raise RefusedError(REFUSED_UNKNOWN)  # a key without an address can hold nothing
    if isinstance(statement, Provider):
        core.lapsing.check(statement)
    now = core.store.now_s()
    known = [(PeerId(read_announcement(one).provider), one) for one in await stored(core, key, float("-inf"))]
    if any(peer == provider and read_announcement(one).stamp > statement.stamp for peer, one in known):
        return
    if len(known) >= PROVIDERS_PER_KEY_MAX and all(peer != provider for peer, _ in known):
        out, its = _of_largest_group(core, known, provider)
        if out == provider:
            return
        await core.store.put_provider(key, out, its, now - 1)  # ended: the first to go
    before = await live(core, key) if statement.kind == GONE else []
    life_s = 0 if statement.kind == GONE else statement.life_s
    await core.store.put_provider(key, provider, raw, now + life_s)
    if isinstance(statement, Provider):
        core.lapsing.gone(statement, before)


async def live(core: Core, key: Key) -> list[Provider]:
    """Return who is announced to have content under a key, as far as that has not ended."""
    found = await stored(core, key, core.store.now_s())
    return [providers.read(raw) for raw in found if providers.is_whole(raw)]


async def stored(core: Core, key: Key, since: float) -> list[bytes]:
    """Return the statements about a key that end after `since`, without those that the disk has damaged."""
    return [raw for raw in await core.store.providers(key, since) if is_sound(raw)]


def _of_largest_group(core: Core, known: list[tuple[PeerId, bytes]], provider: PeerId) -> tuple[PeerId, bytes]:
    """Return whose statement has to go for that of `provider`, which may be itself; chance decides within a group."""
    own = core.members.budget_of(provider)
    size = Counter([own, *(core.members.budget_of(peer) for peer, _ in known)])
    most = max(size.values())
    if size[own] == most == 1:
        return provider, b""
    largest = own if size[own] == most else max(size, key=lambda group: size[group])
    its = [one for one in known if core.members.budget_of(one[0]) == largest]
    return its[core.environment.rng.randrange(len(its))]


async def named(core: Core, key: Key) -> list[bytes]:
    """Return the statements to answer with, at most PROVIDERS_PER_ANSWER_MAX, those to be relied on first.

    Of each address group one before any has two; promised copies before cached ones, members that answer before
    others; else by chance, so that many who ask are sent to all.
    """
    chance = core.environment.rng.random
    found = [(_rank(core, raw), chance(), raw) for raw in await stored(core, key, core.store.now_s())]
    before: Counter[bytes] = Counter()
    ranked = []
    for rank, luck, raw in sorted(found):
        group = core.members.budget_of(PeerId(read_announcement(raw).provider))
        ranked.append((before[group], rank, luck, raw))
        before[group] += 1
    return [one[-1] for one in sorted(ranked)[: limits.PROVIDERS_PER_ANSWER_MAX]]


def _rank(core: Core, raw: bytes) -> int:
    """Return how much is to be said against a provider: it does not answer, it only has a cached copy."""
    statement = read_announcement(raw)
    silent = PeerId(statement.provider) != core.peer and core.members.contact(PeerId(statement.provider)) is None
    return 2 * silent + (statement.kind == CACHE)

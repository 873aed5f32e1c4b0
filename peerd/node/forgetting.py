"""`peer forget`: a person says that a peer will not come back, and nobody waits for what it holds any more.

The notice is signed and spreads as news; whoever sees that peer alive does not believe it, and a peer that comes back
all the same is a member again. Without it nobody is ever forgotten for being silent (DESIGN.md 6, 7). Here it counts
at once; on other peers once enough say so (trust.forgotten), as one that lies must not make others let go.
"""

from peerd.errors import NotFoundError, UsageError
from peerd.ids import PeerId, find_peer_id, peer_id_text
from peerd.node.core import Core
from peerd.records.life import Forgotten, forgotten_notices

# A peer may be named by the first letters of its id, not by fewer than these.
_LETTERS_MIN = 4


async def forget(core: Core, text: str) -> PeerId:
    """Forget the peer whose id is, or begins with, `text`, here and on all others that are there; return it.

    Raises UsageError (several begin so, it is this peer, or it is alive), NotFoundError.
    """
    peer = _find(core, text)
    if core.members.contact(peer) is not None:
        raise UsageError(
            f"{peer_id_text(peer)} is a living member and cannot be forgotten",
            hint="stop it first; it may be forgotten once `peer peers` shows it as dead or left",
        )
    if core.members.forgotten_here(peer):
        return peer
    stamp = await core.next_stamp()
    notice = forgotten_notices.sign(core.identity, Forgotten(format=1, signer=core.peer, peer=peer, stamp=stamp))
    await core.store.note_forgotten(peer, notice)
    core.gossip.on_forgotten(notice)
    await core.gossip.push_forgotten(notice)
    return peer


def _find(core: Core, text: str) -> PeerId:
    whole = find_peer_id(text)
    if whole == core.peer:
        raise UsageError("that is this peer itself")
    if whole is not None and (whole in core.members.all or core.members.forgotten(whole)):
        return whole
    found = [peer for peer in core.members.all if peer_id_text(peer).startswith(text.lower())]
    if len(found) > 1:
        raise UsageError(f"several peers begin with {text[:52]!r}", hint="give more letters of the id")
    if not found or len(text) < _LETTERS_MIN:
        raise NotFoundError("no such peer is known", hint="`peer peers` lists those that are")
    return found[0]

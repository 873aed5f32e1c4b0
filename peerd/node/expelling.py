"""Having nothing to do with who was put out: no session, no connection, no place among the members.

What it wrote stays good, as its signatures do; what it promised counts no more, and its shares go to others. Not here:
who is put out, and why (node.trusting).
"""

from peerd.ids import PeerId, peer_id_text
from peerd.node.core import Core


async def begin(core: Core) -> None:
    """Expel everybody who is put out, those known from before first, and refuse to meet them. Raises StoreError."""
    core.endpoint.refuse(core.trust.is_out)
    core.bulk.cut = lambda peer: _is_cut(core, peer)
    core.trust.listen(lambda peer: _expel(core, peer))
    await core.convicting.begin()
    await core.revoking.begin()


def _is_cut(core: Core, peer: PeerId) -> bool:
    """Return whether there is to be no connection with a peer: put out, or cut off by the harness."""
    member = core.members.all.get(peer)
    return core.trust.is_out(peer) or (member is not None and member.contact.address in core.endpoint.drop_list)


def _expel(core: Core, peer: PeerId) -> None:
    core.copies.forget(peer)
    core.members.expel(peer)  # who keeps what is placed anew hears of it there
    core.endpoint.drop_session(peer)
    core.bulk.drop(peer)
    core.events.emit("peer", id=peer_id_text(peer), state="out")

"""Having nothing to do with who was put out: no session, no connection, no place among the members.

What it wrote stays good, as its signatures do; what it promised counts no more, and its shares go to others. Not here:
who is put out, and why (node.trusting).
"""

from peerd.ids import PeerId, peer_id_text
from peerd.node.core import Core


def watch(core: Core) -> None:
    """Expel everybody who is put out, from now on, and refuse to meet them."""
    core.endpoint.refuse(core.trust.is_out)
    core.trust.listen(lambda peer: _expel(core, peer))


def _expel(core: Core, peer: PeerId) -> None:
    core.copies.forget(peer)
    core.members.expel(peer)  # who keeps what is placed anew hears of it there
    core.endpoint.drop_session(peer)
    core.bulk.drop(peer)
    core.events.emit("peer", id=peer_id_text(peer), state="out")

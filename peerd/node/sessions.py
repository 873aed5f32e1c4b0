"""The table of sealed sessions: by the id on a datagram, by peer, and by what the other end calls them.

Not here: making them (wire.handshake), sending in them (endpoint).
"""

from collections.abc import Container

from peerd.ids import PeerId
from peerd.kad.contact import Address
from peerd.kad.groups import group_or_host
from peerd.trust.admission import Crowd
from peerd.wire.session import Session

# Handshakes that cross leave several sessions for one peer; each end may send in any of them for a while.
SESSIONS_PER_PEER_MAX = 4


class SessionTable:
    """At most `peers_max` peers, a few sessions for each.

    Beyond, the address group with most peers gives one up, the one whose newest session is oldest; members of the
    routing table (`spare`) last of all. So keys that cost nothing push out no session but each other's.
    """

    def __init__(self, peers_max: int, spare: Container[PeerId] = ()) -> None:
        self._crowd: Crowd[PeerId] = Crowd(peers_max)
        self._spare = spare
        self._by_id: dict[bytes, Session] = {}
        self._by_remote: dict[tuple[Address, bytes], Session] = {}
        self._by_peer: dict[PeerId, list[Session]] = {}

    def by_id(self, local_id: bytes) -> Session | None:
        """Return the session that a datagram names."""
        return self._by_id.get(local_id)

    def by_remote(self, address: Address, remote_id: bytes) -> Session | None:
        """Return the session that the peer at `address` knows, or knew, by that id, where we still send in it."""
        session = self._by_remote.get((address, remote_id))
        return session if session is not None and self.of(session.peer) is session else None

    def of(self, peer: PeerId) -> Session | None:
        """Return the session in which we send to `peer`."""
        sessions = self._by_peer.get(peer)
        return sessions[0] if sessions else None

    def __contains__(self, peer: PeerId) -> bool:
        """Return whether there is a session with `peer`."""
        return peer in self._by_peer

    def heard_at(self, peer: PeerId) -> float | None:
        """Return when `peer` last said something authentic, None where there is no session."""
        sessions = self._by_peer.get(peer)
        return max(session.heard_at for session in sessions) if sessions else None

    def answered_at(self, peer: PeerId) -> float | None:
        """Return when `peer` last answered us, or shook hands; None where there is no session."""
        sessions = self._by_peer.get(peer)
        return max(session.answered_at for session in sessions) if sessions else None

    def install(self, session: Session, *, sending: bool) -> None:
        """Add a session; with `sending` we send in it from now on, else once the other end was heard in it."""
        sessions = self._by_peer.setdefault(session.peer, [])
        sessions.insert(0 if sending else 1, session)
        self._by_id[session.local_id] = session
        self._by_remote[session.address, session.remote_id] = session
        for old in sessions[SESSIONS_PER_PEER_MAX:]:
            self._drop(old)
        del sessions[SESSIONS_PER_PEER_MAX:]
        out = self._crowd.add(session.peer, group_or_host(session.address), spare=self._spare)
        if out is not None:
            self.drop(out)

    def heard_in(self, session: Session) -> None:
        """The other end sends in this session: it has the keys, so we send in it as well where it is the newer one."""
        sessions = self._by_peer[session.peer]
        if sessions[0] is not session and session.established_at > sessions[0].established_at:
            sessions.remove(session)
            sessions.insert(0, session)

    def drop(self, peer: PeerId) -> None:
        """Forget all sessions with `peer`."""
        self._crowd.remove(peer)
        for session in self._by_peer.pop(peer, ()):
            self._drop(session)

    def _drop(self, session: Session) -> None:
        self._by_id.pop(session.local_id, None)
        self._by_remote.pop((session.address, session.remote_id), None)

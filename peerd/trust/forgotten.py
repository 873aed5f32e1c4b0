"""Who will not come back, as people say by signed notices (`peer forget`): how many must say so before it counts.

Of plain keys and tombstones the word of this peer's own operator is enough, else that of two members; of one where no
more than three are. In the list of a register, whose majorities decide what was chosen: our own operator's word, or
that of a majority of the list, so that no minority makes itself one. Not here: checking signatures, and who is there.
"""

from collections.abc import Callable, Collection, Container
from typing import Protocol

from peerd.ids import PeerId

# So many members must say it of a peer; one where the network is no larger than that.
SIGNERS_MIN = 2
ALONE_MEMBERS_MAX = 3
# Peers of which it is said, those that one signer says it of, and signers kept of one: liars crowd out their own words.
FORGOTTEN_MAX = 4096
PER_SIGNER_MAX = 256
SIGNERS_MAX = 8


class Gone(Protocol):
    """Who of a list of holders does not count any more."""

    def among(self, members: Collection[PeerId]) -> Container[PeerId]:
        """Return those of `members` that are gone as far as the list is concerned."""


class Nobody:
    """Nobody is gone; satisfies `Gone`."""

    def among(self, members: Collection[PeerId]) -> Container[PeerId]:
        """Return nobody."""
        return ()


NOBODY = Nobody()


class Forgotten:
    """The notices of who will not come back; satisfies `Gone`."""

    def __init__(self, own: PeerId, *, is_member: Callable[[PeerId], bool], member_count: Callable[[], int]) -> None:
        self._own = own
        self._is_member = is_member
        self._member_count = member_count
        self._notices: dict[PeerId, dict[PeerId, bytes]] = {}
        self._out: set[PeerId] = set()
        """Who was put out for good, on proof and not on anybody's word: bounded where that is decided."""
        self._said: dict[PeerId, int] = {}
        """How many peers each signer speaks of."""

    def add(self, peer: PeerId, signer: PeerId, notice: bytes) -> bool:
        """Take the word of `signer` about `peer`; return whether it is new and kept."""
        signers = self._notices.get(peer, {})
        own = signer == self._own
        if signer in signers or (not own and self._said.get(signer, 0) >= PER_SIGNER_MAX):
            return False
        if len(signers) >= SIGNERS_MAX and not own:
            return False
        if not signers and len(self._notices) >= FORGOTTEN_MAX:
            others = (each for each, by in self._notices.items() if self._own not in by)
            self.drop(next(others, next(iter(self._notices))))
        self._notices.setdefault(peer, {})[signer] = notice
        self._said[signer] = self._said.get(signer, 0) + 1
        return True

    def put_out(self, peer: PeerId) -> None:
        """It was proven to lie, or revoked: nobody waits for it, whoever says so or does not."""
        self.drop(peer)
        self._out.add(peer)

    def is_out(self, peer: PeerId) -> bool:
        """Return whether it was put out."""
        return peer in self._out

    def drop(self, peer: PeerId) -> bool:
        """It is there again; return whether anybody had said that it will not come back."""
        signers = self._notices.pop(peer, None)
        for signer in signers or ():
            self._said[signer] -= 1
            if not self._said[signer]:
                del self._said[signer]
        return signers is not None

    def __contains__(self, peer: object) -> bool:
        """Return whether a peer is not expected to come back with plain keys."""
        if peer in self._out:
            return True
        signers = self._notices.get(peer)  # type: ignore[call-overload]
        if not signers:
            return False
        if self._own in signers:
            return True
        members = sum(1 for signer in signers if self._is_member(signer))
        return members >= SIGNERS_MIN or (members > 0 and self._member_count() <= ALONE_MEMBERS_MAX)

    def among(self, members: Collection[PeerId]) -> Container[PeerId]:
        """Return those of a register's list that do not count in it any more."""
        return {peer for peer in members if self._in_list(peer, members)}

    def _in_list(self, peer: PeerId, members: Collection[PeerId]) -> bool:
        signers = self._notices.get(peer, {})
        return (
            peer in self._out
            or self._own in signers
            or sum(1 for each in members if each in signers) > len(members) // 2
        )

    def own(self, peer: PeerId) -> bool:
        """Return whether our own operator said it."""
        return self._own in self._notices.get(peer, {})

    def notices(self) -> list[bytes]:
        """Return all that was said, the newest last."""
        return [notice for signers in self._notices.values() for notice in signers.values()]

"""A sealed session between two proven peers: seal, open, refuse replays. No I/O, no clock.

AES-256-GCM, one key each way, the counter as nonce (RFC 8446 5.3, WireGuard 5.4.6); the receiver's session id and the
counter stand in the clear and are authenticated. The replay window follows RFC 6479.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peerd.errors import WireError
from peerd.ids import PeerId
from peerd.wire import envelope, limits

_PREFIX = envelope.SEALED_HEADER
_HEADER = envelope.SEALED_HEADER_BYTES
_COUNTER = struct.Struct(">Q")
_NONCE = struct.Struct(">IQ")
_WINDOW_MASK = (1 << limits.REPLAY_WINDOW) - 1


class Session:
    """One direction-pair of keys with `peer`; `local_id` is what they write on datagrams for us."""

    __slots__ = (
        "_newest",
        "_next",
        "_prefix",
        "_receive",
        "_seen",
        "_send",
        "address",
        "answered_at",
        "established_at",
        "heard_at",
        "local_id",
        "peer",
        "remote_id",
    )

    def __init__(self, *, peer: PeerId, local_id: bytes, remote_id: bytes, send_key: bytes, receive_key: bytes) -> None:
        self.peer = peer
        self.local_id = local_id
        self.remote_id = remote_id
        self.address: tuple[str, int] = ("", 0)
        self.established_at = 0.0
        self.heard_at = 0.0
        self.answered_at = 0.0
        self._prefix = _PREFIX + remote_id
        self._send = AESGCM(send_key)
        self._receive = AESGCM(receive_key)
        self._next = 0
        self._newest = -1
        self._seen = 0

    @property
    def worn(self) -> bool:
        """Whether so much went one way or the other that a new handshake should replace this session."""
        return max(self._next, self._newest) >= limits.SESSION_MESSAGES_MAX

    def seal(self, plaintext: bytes) -> bytes:
        """Return the datagram for one message."""
        counter = self._next
        self._next = counter + 1
        head = self._prefix + _COUNTER.pack(counter)
        return head + self._send.encrypt(_NONCE.pack(0, counter), plaintext, head)

    def open(self, datagram: bytes) -> bytes:
        """Return the message in a datagram for this session.

        Raises WireError: `replayed` (seen before, or too old to tell), `unauthentic` (not by the holder of the key).
        """
        counter = int.from_bytes(datagram[11:_HEADER], "big")
        ahead = counter - self._newest
        if ahead <= 0 and (ahead <= -limits.REPLAY_WINDOW or (self._seen >> -ahead) & 1):
            raise WireError("replayed")
        try:
            plaintext = self._receive.decrypt(_NONCE.pack(0, counter), datagram[_HEADER:], datagram[:_HEADER])
        except InvalidTag as error:
            raise WireError("unauthentic") from error
        if ahead > 0:
            # Shifting by a forged distance is no risk: only authentic counters come here. Cap the cost all the same.
            self._seen = ((self._seen << ahead) | 1) & _WINDOW_MASK if ahead < limits.REPLAY_WINDOW else 1
            self._newest = counter
        else:
            self._seen |= 1 << -ahead
        return plaintext

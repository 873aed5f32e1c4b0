"""Those who call and have not proven who they are: bounded, fair by address, and given little time.

The proof is a signature over the key that the transport has proven of us and a nonce of this connection, in this
network (DESIGN.md 5). Not here: the connection once its caller is known (bulk).
"""

import asyncio
from dataclasses import dataclass

from peerd.clock import Entropy
from peerd.errors import UnreachableError, WireError
from peerd.identity import Identity
from peerd.ids import PeerId
from peerd.io.environment import Stream
from peerd.kad.groups import group_or_host
from peerd.trust.admission import Crowd
from peerd.wire import frames

TAG_PROOF = b"peerd/1 bulk proof\x00"
NONCE_BYTES = 32
OPENING_TIMEOUT_S = 5.0

# A TLS connection costs some 300 KB: above this those go first that come most from one address group.
UNPROVEN_MAX = 32


@dataclass(slots=True, eq=False)
class _Caller:
    stream: Stream


class Callers:
    """The streams whose callers have not proven who they are."""

    def __init__(self, identity: Identity, entropy: Entropy) -> None:
        self._identity = identity
        self._entropy = entropy
        self._waiting: Crowd[_Caller] = Crowd(UNPROVEN_MAX)

    async def check(self, stream: Stream) -> PeerId:
        """Return who calls.

        Raises WireError where the proof is none, UnreachableError where it does not come in time, or where the caller
        had to make way for others.
        """
        caller = _Caller(stream)
        out = self._waiting.add(caller, group_or_host(stream.remote))
        if out is not None:
            out.stream.close()
        try:
            async with asyncio.timeout(OPENING_TIMEOUT_S):
                return await self._check(stream)
        except TimeoutError as error:
            raise UnreachableError("no proof in time") from error
        finally:
            self._waiting.remove(caller)

    async def _check(self, stream: Stream) -> PeerId:
        nonce = self._entropy(NONCE_BYTES)
        await stream.write(frames.pack(frames.NONCE, 0, nonce))
        payload = await expect(stream, frames.PROOF)
        peer, signature = PeerId(payload[:32]), payload[32:]
        if not self._identity.verify(peer, TAG_PROOF, stream.server_key + nonce, signature):
            raise WireError("signature")
        await stream.write(frames.pack(frames.READY, 0))
        return peer


async def expect(stream: Stream, kind: int) -> bytes:
    """Return the payload of the next frame, which has to be of that kind; raises WireError, UnreachableError."""
    length, got, _ = frames.unpack_header(await stream.read_exactly(frames.HEADER_BYTES))
    if got != kind:
        raise WireError("frame_order")
    return await stream.read_exactly(length) if length else b""

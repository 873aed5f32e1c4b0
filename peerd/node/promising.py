"""What this peer signs of what it has: receipts when it has put something, attestations when somebody asks.

One rule makes it safe to be honest, whatever the disk, the store or a bug here does: `HAS_NOT` is signed of nothing
that was promised since this process began. That is remembered in a fixed room, which may only err towards "it was".
What another run promised does not count: a run has an id of its own, which everything that is signed names. A machine
that is put back to a snapshot of its memory has forgotten and does not know it, but its wall clock is set right sooner
or later: that begins another run.
"""

import hashlib

from peerd.clock import Clock, Entropy
from peerd.identity import Identity
from peerd.io.store.interface import Store
from peerd.records.attestation import HAS, HAS_NOT, UNKNOWN, Attestation, attestations
from peerd.records.receipt import FORMAT, RECEIPT_LIFE_S, STORE_ID_BYTES, Receipt, receipts

# A Bloom filter of 128 KiB: with 100,000 promises one in 40 of what was never promised is taken for promised.
FILTER_BYTES = 2**17
_PROBES = 4
# The wall clock was stepped, or has drifted from the other: both are rare, and another run costs nothing.
STEPPED_S = 2.0


class Promises:
    """The promises of one run; `run` is the store id that they name."""

    def __init__(self, identity: Identity, store: Store, entropy: Entropy, clock: Clock) -> None:
        self._entropy = entropy
        self._clock = clock
        self._identity = identity
        self._store = store
        self._given = bytearray(FILTER_BYTES)
        self._begin()

    async def receipt(self, kind: int, key: bytes, digest: bytes, sequence: int) -> bytes:
        """Return our signed promise to have what the caller has just seen on disk. Raises StoreError."""
        self._note(kind, key, digest)  # first: from now on it is not denied, signed or not
        stamp = await self._stamp()
        body = Receipt(
            format=FORMAT,
            kind=kind,
            holder=self._identity.peer,
            store=self.run,
            key=key,
            digest=digest,
            sequence=sequence,
            life_s=RECEIPT_LIFE_S,
            stamp=stamp,
        )
        return receipts.sign(self._identity, body)

    def may_have_promised(self, kind: int, key: bytes, digest: bytes) -> bool:
        """Say False only of what was not promised in this run."""
        return all(self._given[at >> 3] & 1 << (at & 7) for at in _places(kind, key, digest))

    async def attest(
        self, kind: int, key: bytes, digest: bytes, *, nonce: bytes, said: int, proof: bytes = b""
    ) -> bytes:
        """Return our signed word on what the caller found. Raises StoreError.

        HAS_NOT of what may have been promised becomes UNKNOWN: it is here no more, and why is not known.
        """
        if said == HAS:
            self._note(kind, key, digest)
        stamp = await self._stamp()
        if said == HAS_NOT and self.may_have_promised(kind, key, digest):
            said = UNKNOWN
        body = Attestation(
            format=1,
            kind=kind,
            holder=self._identity.peer,
            store=self.run,
            key=key,
            digest=digest,
            nonce=nonce,
            stamp=stamp,
            said=said,
            proof=proof,
        )
        return attestations.sign(self._identity, body)

    def _begin(self) -> None:
        self._ahead_s = self._clock.wall() - self._clock.monotonic()
        chance = self._entropy(STORE_ID_BYTES)
        self.run = hashlib.blake2b(self._store.store_id + chance, digest_size=STORE_ID_BYTES).digest()

    async def _stamp(self) -> int:
        """Return the stamp of what is signed now, in another run where the clock says so. Raises StoreError."""
        stamp = await self._store.next_stamp()
        if abs(self._clock.wall() - self._clock.monotonic() - self._ahead_s) > STEPPED_S:
            self._begin()
        return stamp

    def _note(self, kind: int, key: bytes, digest: bytes) -> None:
        for at in _places(kind, key, digest):
            self._given[at >> 3] |= 1 << (at & 7)


def _places(kind: int, key: bytes, digest: bytes) -> list[int]:
    hashed = hashlib.blake2b(bytes([kind]) + key + digest, digest_size=4 * _PROBES).digest()
    return [int.from_bytes(hashed[at : at + 4], "big") % (8 * FILTER_BYTES) for at in range(0, 4 * _PROBES, 4)]

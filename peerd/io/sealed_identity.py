"""A peer's seed under a passphrase: the bytes of a protected identity file, and of its backups.

`peerd-identity/1` and a newline; the cost of scrypt (RFC 7914) as log2 N, r and p, a byte each; 16 bytes of salt;
the public key; a nonce of 12; the seed by AES-256-GCM, all before it bound to it. The public key is no secret and
says whose identity it is without the passphrase. Not here: files, and asking for passphrases.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from peerd.clock import Entropy
from peerd.errors import UsageError
from peerd.identity import ED25519, SEED_BYTES
from peerd.ids import PeerId

MAGIC = b"peerd-identity/1\n"
LOG_N, R, P = 15, 8, 3
"""32 MiB and about 0.3 s a guess: as hard as N = 2^17 with p = 1, in memory that small machines have."""

LOG_N_RANGE = range(10, 17)
R_RANGE = range(1, 9)
P_RANGE = range(1, 9)
"""What is read: a file that asks for more would take gigabytes or hours before its tag could be found wrong."""

_SALT_BYTES = 16
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_COST_AT = len(MAGIC)
_SALT_AT = _COST_AT + 3
_PUBLIC_AT = _SALT_AT + _SALT_BYTES
_NONCE_AT = _PUBLIC_AT + _KEY_BYTES
_SEALED_AT = _NONCE_AT + _NONCE_BYTES
SEALED_BYTES = _SEALED_AT + SEED_BYTES + _TAG_BYTES
_MEMORY_MAX = 2 * 128 * 2 ** LOG_N_RANGE[-1] * R_RANGE[-1]

HINT = "restore it from a backup, or move it away to become a new peer"


class WrongPassphraseError(UsageError):
    """The passphrase is not the one that the identity was protected with, or the file was changed."""


def is_sealed(data: bytes) -> bool:
    """Return whether the bytes of an identity file are protected by a passphrase."""
    return data.startswith(MAGIC)


def seal(seed: bytes, passphrase: bytes, entropy: Entropy) -> bytes:
    """Return the seed under the passphrase. Costs 0.3 s."""
    salt, nonce = entropy(_SALT_BYTES), entropy(_NONCE_BYTES)
    head = MAGIC + bytes((LOG_N, R, P)) + salt + ED25519.signing_key(seed).public + nonce
    return head + AESGCM(_key(passphrase, salt, LOG_N, R, P)).encrypt(nonce, seed, head)


def peer_of(data: bytes) -> PeerId:
    """Return whose identity it is, protected or not; raises UsageError where it is none.

    Of a protected one that is what the file says: only the passphrase proves it.
    """
    if is_sealed(data):
        _check(data)
        return PeerId(data[_PUBLIC_AT:_NONCE_AT])
    if len(data) != SEED_BYTES:
        raise UsageError("this is not an identity", hint=HINT)
    return ED25519.signing_key(data).public


def unseal(data: bytes, passphrase: bytes) -> bytes:
    """Return the seed; raises WrongPassphraseError, or UsageError where the bytes are no protected identity."""
    _check(data)
    log_n, r, p = data[_COST_AT:_SALT_AT]
    key = _key(passphrase, data[_SALT_AT:_PUBLIC_AT], log_n, r, p)
    try:
        seed = AESGCM(key).decrypt(data[_NONCE_AT:_SEALED_AT], data[_SEALED_AT:], data[:_SEALED_AT])
    except InvalidTag:
        raise WrongPassphraseError("the passphrase is not the one of this identity") from None
    if ED25519.signing_key(seed).public != data[_PUBLIC_AT:_NONCE_AT]:
        raise UsageError("this protected identity holds another one than it says", hint=HINT)
    return seed


def _check(data: bytes) -> None:
    costs = data[_COST_AT:_SALT_AT]
    if len(data) != SEALED_BYTES or not is_sealed(data):
        raise UsageError("this is not a protected identity", hint=HINT)
    if costs[0] not in LOG_N_RANGE or costs[1] not in R_RANGE or costs[2] not in P_RANGE:
        raise UsageError("this protected identity asks for more work than any honest one", hint=HINT)


def _key(passphrase: bytes, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, n=2**log_n, r=r, p=p, maxmem=_MEMORY_MAX, dklen=_KEY_BYTES)

"""All decoders in turn, each with mutated bytes: what is not a value or the decoder's own error is a fault."""

import random
import time
import traceback

from peerd.identity import SIGNATURE_BYTES
from tests.fuzz.decoders import ALICE, Decoder, all_decoders
from tests.fuzz.judge import HELD_MAX_S, Judge
from tests.fuzz.mutate import Mutator

MARK_EVERY = 20_000
TAGS = {
    "record": b"peerd/1 record\x00",
    "receipt": b"peerd/1 receipt\x00",
    "attestation": b"peerd/1 attestation\x00",
    "provider": b"peerd/1 provider\x00",
    "alias": b"peerd/1 alias\x00",
    "entry": b"peerd/1 entry\x00",
    "notice": b"peerd/1 leave\x00",
    "claim": b"peerd/1 claim\x00",
    "life": b"peerd/1 life\x00",
    "forgotten": b"peerd/1 forgotten\x00",
    "revocation": b"peerd/1 revocation\x00",
}


def fuzz_decoders(judge: Judge, *, seed: int, count: int, seconds: float = float("inf")) -> None:
    """Try decoders `count` times or for so many seconds; what is cheap more often."""
    rng = random.Random(seed)
    decoders = all_decoders()
    mutators = [Mutator(rng, decoder.samples) for decoder in decoders]
    weights = [1 / decoder.cost for decoder in decoders]
    ends = time.monotonic() + seconds
    for number in range(count):
        if number % MARK_EVERY == 0:
            judge.mark()
            if time.monotonic() > ends:
                break
        (at,) = rng.choices(range(len(decoders)), weights)
        try_one(judge, decoders[at], mutators[at], f"seed {seed}, try {number}")
    judge.mark()
    judge.check_growth()


def try_one(judge: Judge, decoder: Decoder, mutator: Mutator, where: str) -> None:
    """Give a decoder one mutated sample."""
    rng = mutator.rng
    sample = rng.choice(decoder.samples)
    if decoder.signed and rng.random() < 0.7:
        body = mutator.mutate_packed(sample[:-SIGNATURE_BYTES])
        data = body + ALICE.sign(TAGS[decoder.name], body)
    elif decoder.packed and rng.random() < 0.6:
        data = mutator.mutate_packed(sample)
    else:
        data = mutator.mutate(sample)
    judge.tries += 1
    began = time.thread_time()
    try:
        decoder.decode(data)
    except decoder.errors:
        pass
    except Exception:  # noqa: BLE001  anything else is what is looked for
        shown = traceback.format_exc(limit=-3)
        judge.fault(f"{decoder.name} ({where}) with {data[:400].hex()}: {shown}")
    held_s = time.thread_time() - began
    if held_s > judge.held_s:
        judge.held_s, judge.held_by = held_s, decoder.name
    if held_s > HELD_MAX_S:
        judge.fault(f"{decoder.name} ({where}) took {held_s:.3f} s for {data[:400].hex()}")

"""`python -m tests.fuzz --seconds 60 --seed 7`: decoders, datagrams and the API, each a third of the time.

Or so many of each: `--decoders 1000000 --datagrams 1000000 --requests 100000`. Exits with 1 where anything was found.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from loguru import logger

from tests.fuzz.api import fuzz_api
from tests.fuzz.bytes_in import fuzz_decoders
from tests.fuzz.datagrams import fuzz_datagrams
from tests.fuzz.judge import Judge

ENDLESS = 10**12
PARTS: dict[str, Callable[..., Any]] = {
    "decoders": fuzz_decoders,
    "datagrams": fuzz_datagrams,
    "requests": fuzz_api,
}


def main(arguments: list[str]) -> int:
    """Run what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--seconds", type=float)
    for name in PARTS:
        parser.add_argument(f"--{name}", type=int)
    given = parser.parse_args(arguments)
    logger.remove()
    chosen = {name: getattr(given, name) for name in PARTS if getattr(given, name) is not None}
    seconds = float("inf")
    if not chosen:
        chosen, seconds = dict.fromkeys(PARTS, ENDLESS), (given.seconds or 60.0) / len(PARTS)
    found = 0
    for name, count in chosen.items():
        began = time.monotonic()
        with Judge() as judge:
            came = PARTS[name](judge, seed=given.seed, count=count, seconds=seconds)
        took_s = time.monotonic() - began
        held = f"the loop held for {1000 * judge.held_s:.0f} ms at most by {judge.held_by}"
        grown = f"memory {judge.growth / 2**20:+.2f} MiB in 100,000"
        print(f"{name}: {judge.tries} in {took_s:.0f} s with seed {given.seed}, {held}, {grown}")
        if came:
            print("   ", ", ".join(f"{what} {many}" for what, many in came.most_common(12)))
        for fault in judge.faults:
            print(f"    {fault[:3000]}")
        found += len(judge.faults)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

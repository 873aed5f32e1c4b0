"""One host's LAN discovery and nothing else, for the live tests: a JSON line on standard output for all that happens.

`python -m tests.live.mdns_peer NUMBER PORT`: peer NUMBER on PORT; with `--lonely social`, the default, it is lonely
until it has heard of another.
"""

import argparse
import asyncio
import hashlib
import json
import random
import signal
import sys
import threading
import time
from pathlib import Path

from peerd.ids import PeerId, peer_id_text
from peerd.io.mdns import LanDiscovery

REPORT_INTERVAL_S = 0.2


def peer_number(number: int) -> PeerId:
    return PeerId(hashlib.sha256(f"peer {number}".encode()).digest())


NAMES = {peer_number(number): number for number in range(300)}


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "at": time.time(), **fields}), flush=True)


def rss_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("--interface", action="append", default=[])
    parser.add_argument("--network", default="0123456789abcdef")
    parser.add_argument("--lonely", choices=["always", "never", "social"], default="social")
    args = parser.parse_args()
    heard: set[PeerId] = set()

    def candidate(peer: PeerId, addresses: list[tuple[str, int]]) -> None:
        heard.add(peer)
        say("candidate", peer=NAMES.get(peer, peer_id_text(peer)), addresses=addresses)

    before = rss_kib()
    discovery = LanDiscovery(
        peer_number(args.number),
        args.network,
        args.port,
        interfaces=args.interface,
        on_candidate=candidate,
        lonely=lambda: args.lonely == "always" or (args.lonely == "social" and not heard),
        rng=random.Random(args.number),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began = time.monotonic()
    await discovery.start()
    say("started", took_s=time.monotonic() - began, rss_kib=rss_kib(), cost_kib=rss_kib() - before)
    last = None
    while not stop.is_set():
        state = {"announced": discovery.announced, "problem": discovery.problem, "ignored": dict(discovery.ignored)}
        if state != last:
            say("state", **state)
            last = state
        try:
            async with asyncio.timeout(REPORT_INTERVAL_S):
                await stop.wait()
        except TimeoutError:
            continue
    await discovery.stop()
    say("stopped", threads=threading.active_count(), rss_kib=rss_kib(), cpu_s=time.process_time())


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        sys.argv.remove("--uvloop")
        uvloop.run(main())
    else:
        asyncio.run(main())

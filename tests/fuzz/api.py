"""Requests by the tens of thousands to a real daemon, over raw sockets, on its Unix socket and on TCP with the token.

Each that is whole is answered, with one of the statuses that the description tells of; none with 500. The daemon logs
no error, its memory stays flat, its event loop is never held (watched).
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from peerd.api.openapi import describe
from peerd.api.routes import ROUTES
from tests.fuzz.judge import HELD_MAX_S, Judge, resident_bytes
from tests.fuzz.requests import Request, Requests
from tests.live.daemons import Daemon, Daemons

ROOT = Path(__file__).parents[2]
CLIENTS = 16
ANSWER_LIMIT_S = 20.0
"""Only what hangs takes so long."""

BROKEN_LIMIT_S = 0.3
"""How long an answer to broken framing is waited for: the daemon may be waiting for the rest."""

MARK_EVERY = 5_000

GROWTH_MAX_BYTES = 8 * 1024 * 1024
"""Some of the requests store: caches, SQLite's too, fill more slowly than in tens of thousands."""

INTERNAL = 500


def fuzz_api(judge: Judge, *, seed: int, count: int, seconds: float = float("inf")) -> Counter[str]:
    """Send `count` requests, or for so many seconds; return how many were answered how."""
    with Daemons() as daemons:
        held = daemons.root / "held"
        daemon = daemons.prepare(None, "--quota", "64MiB", "--log-level", "info")
        daemon.env["PYTHONPATH"] = str(ROOT)
        daemon.launch(wrapper=[sys.executable, "-m", "tests.fuzz.watched", str(held)]).wait_ready()
        answered = asyncio.run(_Run(judge, daemon, seed, count, seconds).run())
        daemon.ok("put", "afterwards", "--value", "sound")
        if daemon.ok("get", "afterwards") != b"sound":
            judge.fault("it does not work afterwards")
        for line in daemon.log.splitlines():
            if "ERROR" in line or "Traceback" in line:
                judge.fault(f"logged: {line}")
        judge.held_s, judge.held_by = float(held.read_text()) if held.exists() else 0.0, "the daemon"
        if judge.held_s > HELD_MAX_S:
            judge.fault(f"the loop was held for {judge.held_s:.3f} s")
        daemon.stop()
    return answered


class _Run:
    def __init__(self, judge: Judge, daemon: Daemon, seed: int, count: int, seconds: float) -> None:
        self.judge = judge
        self.daemon = daemon
        self.left = count
        self.ends = time.monotonic() + seconds
        self.answered: Counter[str] = Counter()
        described = json.loads(describe(ROUTES))
        rng = random.Random(seed)
        self.by_socket = Requests(described, rng)
        self.by_tcp = Requests(described, rng, host=daemon.tcp, token=daemon.token)
        self.rng = rng

    async def run(self) -> Counter[str]:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())
        self._mark()
        self.judge.check_growth(GROWTH_MAX_BYTES)
        return self.answered

    async def _client(self) -> None:
        while self.left > 0 and time.monotonic() < self.ends and self.daemon.running:
            self.left -= 1
            if self.judge.tries % MARK_EVERY == 0:
                self._mark()
            self.judge.tries += 1
            on_tcp = self.rng.random() < 0.2
            request = (self.by_tcp if on_tcp else self.by_socket).make()
            outcome = await self._ask(request, on_tcp=on_tcp)
            self.answered[outcome] += 1
            if on_tcp and outcome == "401":
                self.by_tcp.token = self.daemon.token  # one of the requests may have been to replace it
            self._check(request, outcome)

    def _check(self, request: Request, outcome: str) -> None:
        shown = f"{outcome} to {request.raw[:600]!r}"
        unanswered = request.whole and not request.slow and not outcome.isdigit()
        if outcome == str(INTERNAL) or unanswered:
            self.judge.fault(shown)
        elif request.statuses and outcome.isdigit() and int(outcome) not in request.statuses:
            self.judge.fault(f"not in the description: {shown}")

    async def _ask(self, request: Request, *, on_tcp: bool) -> str:
        """Return the status that was answered, or a word for what came of it."""
        limit_s = BROKEN_LIMIT_S if request.slow or not request.whole else ANSWER_LIMIT_S
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(limit_s):
                if on_tcp:
                    host, _, port = self.daemon.tcp.rpartition(":")
                    reader, writer = await asyncio.open_connection(host, int(port))
                else:
                    reader, writer = await asyncio.open_unix_connection(self.daemon.socket)
                writer.write(request.raw)
                return await self._read(reader)
        except TimeoutError:
            return "silence"
        except OSError as error:
            return type(error).__name__
        finally:
            if writer is not None:
                with suppress(OSError):
                    writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> str:
        line = await reader.readline()
        while line.startswith(b"HTTP/1.1 100"):
            while await reader.readline() not in (b"\r\n", b""):
                pass
            line = await reader.readline()
        if not line:
            return "closed"
        words = line.split(b" ")
        if len(words) < 3 or not re.fullmatch(rb"HTTP/\d\.\d", words[0]) or not words[1].isdigit():
            self.judge.fault(f"an answer that is no HTTP: {line[:200]!r}")
            return "malformed"
        return words[1].decode()

    def _mark(self) -> None:
        if self.daemon.running:
            self.judge.mark(resident_bytes(str(self.daemon.pid)))
        else:
            self.judge.fault("the daemon is gone")

"""The build cache beside a plain HTTP server of files: hits, puts, and misses while holders die.

    python -m tests.bench --only build-cache

Real daemons on loopback, asked by their API over kept connections, as build tools do. The rival is one aiohttp server
that writes files without syncing them: what a site would run as its cache, on one machine, for all. Objects are of
20 KiB, the middle of what a compiler writes.
"""

import argparse
import asyncio
import http.client
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from aiohttp import web

from tests.bench.rows import Goal, Line, Row
from tests.bench.stats import percentile, spread
from tests.live.daemons import Daemon, Daemons

HOSTS = 6
OBJECTS = 200
SIZE_BYTES = 20 * 1024
SETTLE_S = 3.0
KILLED = 2
MISSES_AFTER = 100
GOAL_MISS_MS = 200.0


@dataclass(slots=True)
class Outcome:
    """Milliseconds of each request, by what was asked."""

    times: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0


class Asked:
    """A server's cache over one kept connection."""

    def __init__(self, address: str, prefix: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)
        self._prefix = prefix
        self._headers = headers

    def ask(self, method: str, name: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body."""
        self._connection.request(method, f"{self._prefix}/{name}", body, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _objects() -> list[bytes]:
    chance = random.Random(7)
    return [chance.randbytes(SIZE_BYTES) for _ in range(OBJECTS)]


def _timed(outcome: Outcome, what: str, count: int, one: Callable[[int], bool]) -> None:
    times = outcome.times.setdefault(what, [])
    for number in range(count):
        began = time.perf_counter()
        right = one(number)
        times.append((time.perf_counter() - began) * 1000)
        outcome.wrong += not right


def _common(outcome: Outcome, writer: Asked, reader: Asked, objects: Sequence[bytes]) -> None:
    """What both are asked: put at one, get there and at another, misses at another."""
    _timed(outcome, "put", OBJECTS, lambda at: writer.ask("PUT", f"o/{at}", objects[at])[0] in (200, 201))
    time.sleep(SETTLE_S)
    _timed(outcome, "hit", OBJECTS, lambda at: reader.ask("GET", f"o/{at}") == (200, objects[at]))
    _timed(outcome, "hit again", OBJECTS, lambda at: reader.ask("GET", f"o/{at}") == (200, objects[at]))
    _timed(outcome, "miss", OBJECTS, lambda at: reader.ask("GET", f"none/{at}")[0] == 404)
    _timed(outcome, "miss HEAD", OBJECTS, lambda at: reader.ask("HEAD", f"none/{at}")[0] == 404)


def _asked(daemon: Daemon) -> Asked:
    return Asked(daemon.tcp, "/cache", {"Authorization": f"Bearer {daemon.token}"})


def _peerd(objects: Sequence[bytes]) -> Outcome:
    outcome = Outcome()
    with Daemons() as daemons:
        running = daemons.loopback(HOSTS)
        writer, reader = _asked(running[0]), _asked(running[-1])
        _common(outcome, writer, reader, objects)
        for daemon in running[1 : 1 + KILLED]:
            daemon.kill()
        _timed(outcome, "miss, dead", MISSES_AFTER, lambda at: reader.ask("GET", f"gone/{at}")[0] == 404)
        writer.close()
        reader.close()
    return outcome


def _rival(objects: Sequence[bytes]) -> Outcome:
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.build_cache", "--serve", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            writer, reader = Asked(address, "", {}), Asked(address, "", {})
            _common(outcome, writer, reader, objects)
            writer.close()
            reader.close()
        finally:
            server.terminate()
            server.wait()
            if server.stdout is not None:
                server.stdout.close()
    return outcome


def row_of() -> Row:
    """Measure, and return the row."""
    objects = _objects()
    rival, ours = _rival(objects), _peerd(objects)
    row = Row("build-cache", f"build cache of {HOSTS} peers, objects of {SIZE_BYTES // 1024} KiB", "hit p50 ms", [])
    name = f"aiohttp {version('aiohttp')}, one server of files"
    row.lines.append(_line("peerd", ours, _hit(ours) / _hit(rival), name))
    row.lines.append(_line(name, rival, None, None))
    slowest = max(max(ours.times[what]) for what in ("miss", "miss HEAD", "miss, dead"))
    row.lines[0].goals.append(Goal("slowest miss ms, also of dead holders", slowest, GOAL_MISS_MS))
    row.lines[0].goals.append(Goal("wrong answers", ours.wrong, 0))
    return row


def _hit(outcome: Outcome) -> float:
    return percentile(outcome.times["hit again"], 0.5)


def _line(subject: str, found: Outcome, ratio: float | None, against: str | None) -> Line:
    others = {f"{what} p50 ms": percentile(times, 0.5) for what, times in found.times.items()}
    others |= {f"{what} p99 ms": percentile(times, 0.99) for what, times in found.times.items() if "miss" in what}
    return Line("build-cache", subject, spread([_hit(found)]), "ms", 1, others, ratio, against)


async def _serve(folder: Path) -> None:
    async def get(request: web.Request) -> web.StreamResponse:
        path = folder / request.path.strip("/").replace("/", "-")
        return web.FileResponse(path) if path.exists() else web.Response(status=404)

    async def put(request: web.Request) -> web.StreamResponse:
        path = folder / request.path.strip("/").replace("/", "-")
        partial = path.with_suffix(".partial")
        partial.write_bytes(await request.read())
        partial.replace(path)
        return web.Response(status=201)

    app = web.Application(client_max_size=2**30)
    app.router.add_get("/{path:.*}", get)
    app.router.add_put("/{path:.*}", put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("{}:{}".format(*runner.addresses[0]), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.build_cache")
    parser.add_argument("--serve", type=Path, metavar="DIR", help="be the rival, with files in DIR")
    folder = parser.parse_args().serve
    if folder is not None:
        asyncio.run(_serve(folder))
        return
    for line in row_of().lines:
        print(f"{line.subject}: hit p50 {line.main.middle:.2f} ms; {line.others}")
        for goal in line.goals:
            print(f"  {goal.text}")


if __name__ == "__main__":
    main()

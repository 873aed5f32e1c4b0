"""What every subject is asked to do, in the same order and with the same chance, and what is noted of it.

A get is never repeated by the same peer, and never asked of a peer that has the answer already: what is measured is
the network, not a cache beside the asker. One network goes through all rows; killing peers comes last.
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from tests.bench.plan import Plan
from tests.bench.subject import Answer, Subject

Measures = dict[str, dict[str, object]]
"""Row, or row and mode (`get one`) -> what was noted: samples in ms, CPU in ms, counts."""


class Workload:
    """One subject, one seed."""

    def __init__(self, subject: Subject, plan: Plan) -> None:
        self._subject = subject
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._values: dict[str, bytes] = {}
        self._asked: set[tuple[int, str]] = set()
        self.measures: Measures = {}

    async def run(self, rows: list[str]) -> None:
        """Go through these of NETWORK_ROWS; puts always happen, for the gets need something to find."""
        plan = self._plan
        await self._puts(plan.warm_up_puts, None)
        await self._puts(plan.puts, "put" if "put" in rows else None)
        await self._subject.settle()
        if "get" in rows or "flood" in rows:
            for mode in self._subject.modes:
                await self._gets(plan.warm_up_gets, mode, None)
        if "get" in rows:
            for mode in self._subject.modes:
                await self._gets(plan.gets, mode, _name("get", mode))
        if "flood" in rows:
            for mode in self._subject.modes:
                await self._flood(mode)
        if "kill" in rows:
            await self._kill()

    async def run_delayed(self) -> None:
        """Put and get over a network with a round trip of `round_trip_ms`."""
        plan = self._plan
        await self._puts(plan.delay_warm_up, None)
        await self._puts(plan.delay_puts, "delay put")
        await self._subject.settle()
        for mode in self._subject.modes:
            await self._gets(plan.delay_warm_up, mode, None)
            await self._gets(plan.delay_gets, mode, _name("delay get", mode))

    async def _puts(self, count: int, note_as: str | None) -> None:
        async def one() -> tuple[Answer, bytes]:
            key = f"bench/{self._plan.seed}/{len(self._values)}"
            value = self._chance.randbytes(self._plan.value_bytes)
            answer = await self._subject.put(self._chance.randrange(self._plan.peers), key, value)
            if answer.value is not None:
                self._values[key] = value
            return answer, value

        await self._measure(count, one, note_as)

    async def _gets(self, count: int, mode: str, note_as: str | None) -> None:
        questions = self._questions(range(self._plan.peers))

        async def one() -> tuple[Answer, bytes]:
            peer, key = next(questions)
            return await self._limited_get(peer, key, mode), self._values[key]

        await self._measure(count, one, note_as)

    async def _measure(
        self, count: int, one: Callable[[], Awaitable[tuple[Answer, bytes]]], note_as: str | None
    ) -> None:
        gc.collect()
        samples: list[float] = []
        correct = 0
        cpu_s = time.process_time()
        for _ in range(count):
            answer, wanted = await one()
            if answer.value == wanted:
                # A failure may be quick; it counts as a failure, not as a quick answer.
                samples.append(answer.seconds * 1000)
                correct += 1
        cpu_s = time.process_time() - cpu_s
        if note_as is not None:
            self.measures[note_as] = {
                "samples_ms": samples,
                "count": count,
                "correct": correct,
                "cpu_ms_each": cpu_s * 1000 / count,
            }

    async def _flood(self, mode: str) -> None:
        gc.collect()
        left = self._plan.flood_gets
        correct = 0
        samples: list[float] = []
        questions = self._questions(range(self._plan.peers))

        async def asker() -> None:
            nonlocal left, correct
            while left > 0:
                left -= 1
                peer, key = next(questions)
                answer = await self._limited_get(peer, key, mode)
                samples.append(answer.seconds * 1000)
                correct += answer.value == self._values[key]

        began = time.perf_counter()
        await asyncio.gather(*(asker() for _ in range(self._plan.in_flight)))
        seconds = time.perf_counter() - began
        count = len(samples)
        self.measures[_name("flood", mode)] = {
            "samples_ms": samples,
            "count": count,
            "correct": correct,
            "gets_per_s": count / seconds,
        }

    async def _kill(self) -> None:
        """Kill at once, then ask at a steady pace whatever becomes of the gets before (no coordinated omission)."""
        plan = self._plan
        gc.collect()
        peers = list(range(plan.peers))
        dead = set(self._chance.sample(peers, round(plan.peers * plan.kill_share)))
        living = [peer for peer in peers if peer not in dead]
        questions = self._questions(living)
        answers: dict[str, list[tuple[Answer, bool]]] = {mode: [] for mode in self._subject.modes}

        async def one(peer: int, key: str, mode: str) -> None:
            answer = await self._limited_get(peer, key, mode)
            answers[mode].append((answer, answer.value == self._values[key]))

        keys = [key for key in self._values if any(self._subject.has(peer, key) for peer in living)]
        unknown = not keys
        await self._subject.kill(dead)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(plan.kill_gets * len(self._subject.modes)):
                peer, key = next(questions)
                while not unknown and key not in keys:
                    peer, key = next(questions)
                mode = self._subject.modes[number % len(self._subject.modes)]
                tasks.create_task(one(peer, key, mode))
                due = began + (number + 1) / (plan.kill_gets_per_s * len(self._subject.modes))
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for mode, noted in answers.items():
            self.measures[_name("kill", mode)] = {
                "samples_ms": [answer.seconds * 1000 for answer, _ in noted],
                "count": len(noted),
                "correct": sum(right for _, right in noted),
            }

    async def _limited_get(self, peer: int, key: str, mode: str) -> Answer:
        limit = self._plan.get_limit_s
        try:
            async with asyncio.timeout(limit):
                return await self._subject.get(peer, key, mode)
        except TimeoutError:
            return Answer(None, limit)

    def _questions(self, peers: "range | list[int]") -> Iterator[tuple[int, str]]:
        """Yield pairs of an asker and a key, at random, each pair once in the life of the network."""
        keys = list(self._values)
        misses = 0
        while misses < 100_000:
            pair = self._chance.choice(peers), self._chance.choice(keys)
            if pair in self._asked or self._subject.has(*pair):
                misses += 1
                continue
            self._asked.add(pair)
            misses = 0
            yield pair
        raise AssertionError("the plan asks more than there is to ask: more keys or fewer gets")


def _name(row: str, mode: str) -> str:
    return f"{row} {mode}".strip()

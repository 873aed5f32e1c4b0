"""Short runs in which everything goes wrong together: a scenario that follows from its seed alone.

A few peers, users at work on a few names, some faults of every kind in an order nobody would think of; then all is
mended, the world settles, and everything is checked. Each is small, so that a thousand are cheap and a failing one can
be read. Not here: playing it (play), and what must hold (requests, checks).
"""

from collections.abc import Callable
from random import Random
from typing import Any, get_args

from peerd.sim import scenario as steps
from peerd.sim.chance import Chance
from peerd.sim.disk import DiskFault
from peerd.sim.faults import Faults
from peerd.sim.scenario import AnyStep, Expect, Scenario

PEERS = 3, 8
KEYS = 3, 10
BUSY_S = 16.0, 40.0
BEFALLEN = 2, 7
REQUESTS_PER_S = 2.0
STRONG_PART = 0.3
JOINED_S = 3.0
# A dead peer is tried again every 11 s; then what it missed is given to it.
SETTLE_S = 24.0

DAY_S, YEAR_S = 86_400.0, 31_557_600.0
CLOCK_STEPS = -DAY_S, 10 * YEAR_S, 3600.0, -3600.0, 0.0
DRIFTS = 0.1, -0.1, 0.0

# In some the quota is the least there may be, and beside the other names are some with content of which few fit in.
TIGHT_PART = 0.2
QUOTA_BYTES = 2**20
LARGE_BYTES = 40_000, 250_000
LARGE_KEYS = 20
LARGE_PER_S = 1.5

# Tombstones that go within the run, and those that do not.
GRACES_S = 4.0, 3600.0

SETTINGS: dict[str, Any] = {
    "probe_interval_s": 0.5,
    "suspect_timeout_s": 2.0,
    "repair_interval_s": 4.0,
    "audit_interval_s": 4.0,
    "lonely_interval_s": 1.0,
    "leave_timeout_s": 3.0,
    "unclaimed_grace_s": 4.0,
}


def mixed(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = Chance(seed).rng("mixed")
    peers, busy_s = rng.randint(*PEERS), rng.uniform(*BUSY_S)
    until_s = JOINED_S + busy_s
    steps_made: list[AnyStep] = [
        steps.Join(at_s=0, over_s=1),
        steps.Work(
            at_s=JOINED_S,
            over_s=busy_s,
            count=int(busy_s * REQUESTS_PER_S),
            keys=rng.randint(*KEYS),
            removes=rng.choice((0.05, 0.2)),
            contents=rng.choice((0.0, 0.0, 0.1)),
            ones=0.1,
        ),
    ]
    if rng.random() < STRONG_PART:
        steps_made += _strong(rng, busy_s)
    for _ in range(rng.randint(*BEFALLEN)):
        kind = rng.choice(KINDS)
        steps_made += kind(rng, rng.uniform(JOINED_S, until_s - 1), until_s, peers)
    # Twice: some stop at that very moment.
    steps_made += [steps.Heal(at_s=until_s), steps.Restart(at_s=until_s + 1), steps.Restart(at_s=until_s + 4)]
    faults, settings = _faults(rng), {**SETTINGS, "tombstone_grace_s": rng.choice(GRACES_S)}
    # By chance of its own: the others stay what they were.
    tight = Chance(seed).rng("tight")
    if tight.random() < TIGHT_PART:
        settings["quota_bytes"] = QUOTA_BYTES
        steps_made.append(_large(tight, busy_s))
    return Scenario(
        name=f"mixed faults {seed}",
        peers=peers,
        seed=seed,
        settle_s=SETTLE_S,
        signed=False,
        faults=faults,
        settings=settings,
        step=steps_made,
        expect=Expect(puts_ok=0, gets_ok=0, agree=True),
    )


def _strong(rng: Random, busy_s: float) -> list[AnyStep]:
    """Registers and a counter, beside the other names; one that was made strong stays so."""
    return [
        steps.Strong(at_s=JOINED_S, over_s=busy_s, count=int(busy_s), keys=rng.randint(1, 2)),
        steps.Count(at_s=JOINED_S + rng.uniform(0, busy_s / 2), over_s=busy_s / 2, writers=rng.randint(4, 20)),
    ]


def _large(rng: Random, busy_s: float) -> AnyStep:
    """Content that fills disks, overwritten and deleted now and then."""
    return steps.Work(
        at_s=JOINED_S,
        over_s=busy_s,
        count=int(busy_s * LARGE_PER_S),
        keys=LARGE_KEYS,
        first=max(KEYS),
        puts=0.0,
        removes=0.1,
        contents=0.6,
        content_bytes=rng.randint(*LARGE_BYTES),
    )


def _faults(rng: Random) -> Faults:
    lossy = rng.choice((0.0, 0.0, 0.01, 0.1))
    return Faults(
        latency_ms=rng.choice((0.2, 1.0, 10.0)),
        loss=lossy,
        duplicate=rng.choice((0.0, lossy)),
        reorder=rng.choice((0.0, lossy)),
        sync_ms=rng.choice((0.0, 1.0, 10.0)),
        sync_failures=rng.choice((0.0, 0.0, 0.0, 0.02)),
        clock_skew_s=rng.choice((0.0, 10.0, DAY_S)),
    )


# What can befall a world: each returns the steps, the ends of what does not end by itself included.


def _crash(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    count = rng.randint(1, max(1, peers // 2))
    crash = steps.Crash(at_s=at_s, over_s=rng.choice((0.0, 1.0)), count=count, power=rng.random() < 0.5)
    if rng.random() < 0.3:
        return [crash]
    return [crash, steps.Restart(at_s=rng.uniform(at_s + 0.2, until_s), count=rng.randint(1, count))]


def _leave(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    return [steps.Leave(at_s=at_s, count=1), steps.Restart(at_s=rng.uniform(at_s + 1, until_s + 1), count=1)]


def _join(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    return [steps.Join(at_s=at_s, over_s=1, count=rng.randint(1, 2))]


def _pause(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    return [steps.Pause(at_s=at_s, count=rng.randint(1, max(1, peers // 2)), for_s=rng.uniform(0.3, 8))]


def _part(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    side = rng.randint(1, peers - 1)
    part = steps.Partition(at_s=at_s, islands=[side, peers - side])
    return [part, steps.Heal(at_s=rng.uniform(at_s + 0.5, until_s))]


def _cut(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    return [steps.Cut(at_s=at_s, links=rng.randint(1, peers)), steps.Heal(at_s=rng.uniform(at_s + 0.5, until_s))]


def _lose(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    worse = {"loss": rng.choice((0.1, 0.3, 0.6)), "duplicate": 0.1, "reorder": 0.2, "reorder_ms": 300.0}
    slow = {"latency_ms": rng.choice((100.0, 400.0)), "jitter_ms": 30.0}
    changes = rng.choice((worse, slow))
    normal: dict[str, float | None] = {
        "loss": 0.0,
        "duplicate": 0.0,
        "reorder": 0.0,
        "latency_ms": 1.0,
        "jitter_ms": 0.1,
    }
    return [
        steps.Change(at_s=at_s, faults=dict(changes)),
        steps.Change(at_s=rng.uniform(at_s + 0.5, until_s), faults=normal),
    ]


def _sick(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    fault: DiskFault = rng.choice(get_args(DiskFault))
    return [steps.Sick(at_s=at_s, count=rng.randint(1, 2), fault=fault, for_s=rng.uniform(1, 10))]


def _clock(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    count = rng.randint(1, max(1, peers // 2))
    return [steps.Clock(at_s=at_s, count=count, step_s=rng.choice(CLOCK_STEPS), drift=rng.choice(DRIFTS))]


def _restore(rng: Random, at_s: float, until_s: float, peers: int) -> list[AnyStep]:
    return [steps.Backup(at_s=at_s, count=1), steps.Restore(at_s=rng.uniform(at_s + 1, until_s + 1), count=1)]


Befall = Callable[[Random, float, float, int], list[AnyStep]]
KINDS: tuple[Befall, ...] = (_crash, _crash, _leave, _join, _pause, _part, _cut, _lose, _sick, _clock, _restore)

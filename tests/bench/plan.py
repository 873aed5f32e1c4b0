"""How much is measured: the sizes of a quick and of a full run.

Every subject gets the same plan and the same seed, one more in each run, so that all of them are asked the same
questions in the same order, and no result hangs on one drawing of lots.
"""

import dataclasses
import json
from dataclasses import dataclass

ROWS = (
    "get",
    "put",
    "flood",
    "kill",
    "delay",
    "command",
    "memory",
    "zipf",
    "hot-key",
    "lease",
    "crowd",
    "one-to-one",
    "build-cache",
    "small-files",
)
"""The rows of the table, in the order of the report."""

NETWORK_ROWS = ("get", "put", "flood", "kill")
"""Rows that one network of peers in one process goes through in this order; `kill` is last, it wounds the network."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of one run. Times are in the unit that a name ends in; the rest are counts."""

    peers: int = 100
    value_bytes: int = 512
    seed: int = 7
    warm_up_puts: int = 40
    puts: int = 200
    warm_up_gets: int = 400
    gets: int = 1000
    flood_gets: int = 3000
    in_flight: int = 32
    kill_share: float = 0.30
    kill_gets: int = 300
    kill_gets_per_s: float = 50.0
    get_limit_s: float = 15.0
    round_trip_ms: float = 20.0
    delay_warm_up: int = 10
    delay_gets: int = 60
    delay_puts: int = 30
    runs: int = 3
    kill_runs: int = 2
    delay_runs: int = 2
    command_runs: int = 30
    memory_peers: int = 5
    memory_idle_s: float = 30.0
    zipf_seeds: int = 1
    hot_key_hosts: int = 31
    crowd_hosts: tuple[int, ...] = (12, 24)
    crowd_mib: int = 64
    crowd_runs: int = 3
    one_to_one_mib: int = 1024
    one_to_one_runs: int = 3

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Return the plan that `to_json` wrote."""
        return cls(**json.loads(text))


FULL = Plan()
QUICK = Plan(
    warm_up_puts=10,
    puts=60,
    warm_up_gets=200,
    gets=400,
    flood_gets=800,
    kill_gets=100,
    get_limit_s=10.5,
    delay_warm_up=5,
    delay_gets=25,
    delay_puts=10,
    runs=1,
    kill_runs=1,
    delay_runs=1,
    command_runs=7,
    memory_idle_s=4.0,
    hot_key_hosts=12,
    crowd_hosts=(12,),
    crowd_mib=32,
    crowd_runs=1,
    one_to_one_mib=128,
    one_to_one_runs=1,
)

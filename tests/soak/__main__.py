"""Programs that run long: `python -m tests.soak kill`, `power`, `mixed`, `losses`, `liars`, `audits`; 1: one broke."""

import argparse
import random
import sys

from tests.soak.audits import audit
from tests.soak.kill import kill_again_and_again
from tests.soak.liars import lie
from tests.soak.losses import lose
from tests.soak.mixed import mix
from tests.soak.power import cut_again_and_again


def main() -> int:
    """Run one program and print how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    programs = parser.add_subparsers(dest="program", required=True)
    kill = programs.add_parser("kill", help="kill -9 a daemon that is written to, and look what is there")
    kill.add_argument("--rounds", type=int, default=1000)
    power = programs.add_parser("power", help="cut the power of a daemon that is written to; needs root")
    power.add_argument("--cuts", type=int, default=100)
    mixed = programs.add_parser("mixed", help="faults of every kind on hosts with users; needs root")
    mixed.add_argument("--minutes", type=float, default=60.0)
    losses = programs.add_parser("losses", help="kill some of many hosts for good under a reader; needs root")
    losses.add_argument("--hosts", type=int, default=10)
    losses.add_argument("--keys", type=int, default=1000)
    losses.add_argument("--dead", type=int, default=2)
    liars = programs.add_parser("liars", help="many daemons of which some lie together, while some come and go")
    liars.add_argument("--daemons", type=int, default=60)
    liars.add_argument("--liars", type=int, default=18)
    liars.add_argument("--gets", type=int, default=1000)
    audits = programs.add_parser("audits", help="mixed faults in the simulator, with busy auditors: who is convicted?")
    audits.add_argument("--seeds", type=int, default=10_000)
    for each in (kill, power, mixed, losses, liars, audits):
        each.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    told = parser.parse_args()
    print(f"seed {told.seed}", flush=True)
    try:
        if told.program == "kill":
            print(kill_again_and_again(told.rounds, told.seed))
        elif told.program == "audits":
            print(audit(told.seed, told.seeds))
        elif told.program == "losses":
            print(lose(told.hosts, told.keys, told.dead))
        elif told.program == "liars":
            report = lie(told.daemons, told.liars, told.gets, told.seed, env={})
            print(report)
            assert report.success >= 0.99, f"{report.success:.2%} of the gets were right, 99 % were to be"
        elif told.program == "mixed":
            print(mix(60.0 * told.minutes, told.seed))
        else:
            print(cut_again_and_again(told.cuts, told.seed))
    except AssertionError as error:
        print(f"a promise was broken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

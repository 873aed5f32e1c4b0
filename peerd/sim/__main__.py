"""`peerd sim`: run a scenario, print what came of it. Exit status 0 where every promise was kept, 1 where not."""

import sys
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from peerd.errors import PeerdError, UsageError
from peerd.sim.logs import show
from peerd.sim.loop import DeadlockError, LivelockError
from peerd.sim.mixed import mixed as mixed_faults
from peerd.sim.play import play
from peerd.sim.scenario import Scenario, read_scenario
from peerd.sim.world import HOSTS_MAX

EXIT_BROKEN = 1
LEVELS = ("debug", "info", "warning", "error")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--peers", type=click.IntRange(1, HOSTS_MAX), help="How many peers.  [the scenario's, else 100]")
@click.option("--seed", type=int, help="All chance comes from it.  [the scenario's, else 1]")
@click.option("--scenario", type=click.Path(path_type=Path), metavar="FILE", help="What happens to whom when (TOML).")
@click.option("--mixed", is_flag=True, help="Faults of every kind, in an order that follows from the seed.")
@click.option("--seeds", type=click.IntRange(1), default=1, help="Seeds in a row, until one breaks a promise.  [1]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--log-level", type=click.Choice(LEVELS), help="Show the peers' logs, in virtual time.")
def command(
    peers: int | None,
    seed: int | None,
    scenario: Path | None,
    *,
    mixed: bool,
    seeds: int,
    as_json: bool,
    log_level: str | None,
) -> int:
    """Run many simulated peers in one process; the same seed gives the same run.

    Without a scenario they join, put values, and get them from each other.
    """
    if mixed and (scenario is not None or peers is not None):
        raise click.UsageError("--mixed makes its own scenario: leave out --scenario and --peers")
    played = read_scenario(scenario) if scenario is not None else Scenario()
    if peers is not None:
        played = replace(played, peers=peers)
    first = seed if seed is not None else played.seed if played.seed is not None else 1
    show(log_level)
    for each in range(first, first + seeds):
        code = _run(mixed_faults(each) if mixed else played, each, as_json=as_json, short=seeds > 1)
        if code:
            return code
    return 0


def _run(played: Scenario, seed: int, *, as_json: bool, short: bool) -> int:
    try:
        report = play(played, seed)
    except (DeadlockError, LivelockError) as error:
        click.echo(error, err=True)
        return EXIT_BROKEN
    if as_json:
        click.echo(msgspec.json.encode(report))
    elif short and report.good:
        click.echo(f"seed {seed}: {report.virtual_s:.0f} s, all promises kept")
    else:
        click.echo(report.text())
    return 0 if report.good else EXIT_BROKEN


def main(argv: list[str]) -> int:
    """Run `peerd sim` with the arguments after `sim`; return its exit status.

    Raises UsageError for what is wrong with them or with the scenario.
    """
    try:
        result = command.main(argv, prog_name="peerd sim", standalone_mode=False)
    except click.UsageError as error:
        raise UsageError(error.format_message(), hint="peerd sim --help tells what there is") from error
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PeerdError as error:
        sys.stderr.write(f"peerd: {error.message}\n")
        sys.exit(error.exit_code)

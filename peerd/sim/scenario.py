"""A scenario: how many peers, what their world is like, what happens to them when; a TOML file or made in code.

    name = "a partition heals"
    peers = 10
    [faults]                # see faults.py
    loss = 0.05
    [settings]              # any settings of peerd, for all peers
    probe_interval_s = 0.5
    [[step]]
    do = "join"             # see the steps below
    at_s = 0
    over_s = 2

Steps begin at their `at_s` whether or not those before are over; what a step does many times it spreads over `over_s`.
After the last one the world settles for `settle_s` and every acknowledged record is read again (checks.py).
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from peerd.config import Settings
from peerd.errors import UsageError
from peerd.sim.disk import DiskFault
from peerd.sim.faults import Duration, Faults, Share
from peerd.sim.world import HOSTS_MAX

Instant = Annotated[float, msgspec.Meta(ge=0)]
Number = Annotated[int, msgspec.Meta(ge=1)]
Consistency = Literal["one", "quorum", "strong"]

DEFAULT_PEERS = 100
DEFAULT_KEYS = 100
DEFAULT_GETS = 300


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Something that begins at `at_s` and is spread evenly, jittered, over `over_s`."""

    at_s: Instant
    over_s: Instant = 0.0


class Join(Step, frozen=True, kw_only=True, tag="join"):
    """New peers; all of the scenario's where no number is given."""

    count: Number | None = None


class Put(Step, frozen=True, kw_only=True, tag="put"):
    """Values under `keys` names, each from a random peer; again to write a key anew. Above 1 KiB it is content."""

    keys: Number
    first: int = 0
    value_bytes: Annotated[int, msgspec.Meta(ge=0, le=64 * 2**20)] = 200
    consistency: Consistency = "quorum"


class Get(Step, frozen=True, kw_only=True, tag="get"):
    """Reads of random keys that were acknowledged before, each at a random peer; with `deleted` of any key."""

    count: Number
    consistency: Consistency = "quorum"
    deleted: bool = False


class Work(Step, frozen=True, kw_only=True, tag="work"):
    """What users do: `count` requests on `keys` names, each at a random peer that does not stand still.

    The shares are of writes, deletes, reads with `one`, and writes of content; the rest are reads.
    """

    count: Number
    keys: Number
    first: int = 0
    puts: Share = 0.4
    removes: Share = 0.1
    ones: Share = 0.1
    contents: Share = 0.05
    content_bytes: Number = 3000


class Remove(Step, frozen=True, kw_only=True, tag="remove"):
    """Deletes `keys` names."""

    keys: Number
    first: int = 0


class Strong(Step, frozen=True, kw_only=True, tag="strong"):
    """Strong reads, writes, deletes and compare-and-set of `keys` registers, `count` in all, each at a random peer."""

    count: Number
    keys: Number = 1
    first: int = 0


class Count(Step, frozen=True, kw_only=True, tag="count"):
    """So many `writers` at once, each at a random peer, add one to a counter `times` times."""

    writers: Number
    times: Number = 1
    first: int = 0


class Leave(Step, frozen=True, kw_only=True, tag="leave"):
    """Random peers stop and say goodbye."""

    count: Number


class Crash(Step, frozen=True, kw_only=True, tag="crash"):
    """Peers end at once, and lose what was not synced: random ones, or `count` holders of key number `holders_of`.

    With `power` the kernel lives on and resets their connections, as with kill -9; without, their machine is dark.
    """

    count: Number
    holders_of: int | None = None
    power: bool = False


class Churn(Step, frozen=True, kw_only=True, tag="churn"):
    """All that run come and go for `for_s`: sessions and absences of exponential length, on their own stores.

    Medians; the share `kills` of the sessions ends like a crash with its machine dark, the others with a goodbye. In
    the end all are back.
    """

    for_s: Instant
    session_s: Annotated[float, msgspec.Meta(gt=0)] = 84.0
    away_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    kills: Share = 0.5


class Restart(Step, frozen=True, kw_only=True, tag="restart"):
    """Peers that stopped or crashed start again on their stores, the longest down first; all without a number."""

    count: Number | None = None


class Pause(Step, frozen=True, kw_only=True, tag="pause"):
    """Random peers stand still for `for_s`, as under SIGSTOP: time goes on, and what reaches them waits."""

    count: Number
    for_s: Instant


class Clock(Step, frozen=True, kw_only=True, tag="clock"):
    """The wall clocks of random hosts are stepped by `step_s`, their monotonic ones run faster by the share `drift`."""

    count: Number
    step_s: float = 0.0
    drift: Annotated[float, msgspec.Meta(ge=-0.5, le=0.5)] = 0.0


class Sick(Step, frozen=True, kw_only=True, tag="sick"):
    """The disks of random hosts are full, fail to sync, or are slow at it, for `for_s`."""

    count: Number
    fault: DiskFault
    for_s: Instant


class Backup(Step, frozen=True, kw_only=True, tag="backup"):
    """The stores of random hosts are copied, for a later `restore`."""

    count: Number


class Restore(Step, frozen=True, kw_only=True, tag="restore"):
    """Hosts of whose stores there is a copy crash, and start again on the copy."""

    count: Number


class Partition(Step, frozen=True, kw_only=True, tag="partition"):
    """Cuts the network into islands of these sizes, drawn at random; who is left over is in the first."""

    islands: Annotated[list[Number], msgspec.Meta(min_length=2)]


class Cut(Step, frozen=True, kw_only=True, tag="cut"):
    """Cuts random links, one way only."""

    links: Number


class Heal(Step, frozen=True, kw_only=True, tag="heal"):
    """Undoes all cuts."""


class Change(Step, frozen=True, kw_only=True, tag="faults"):
    """Changes some of the network's faults from then on."""

    faults: dict[str, float | None]


Users = Put | Get | Remove | Work | Strong | Count
Peers = Join | Leave | Crash | Churn | Restart | Pause | Clock | Sick | Backup | Restore
Wires = Partition | Cut | Heal | Change
AnyStep = Users | Peers | Wires


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of requests that must succeed; the checks hold whatever stands here."""

    puts_ok: Share = 1.0
    gets_ok: Share = 1.0
    checks_ok: Share = 0.0
    gets_p95_ms: Duration | None = None
    gets_p99_ms: Duration | None = None
    maintenance_per_peer_s: float | None = None
    """The most bytes of datagrams a second for all but records and content."""
    agree: bool = False
    """All that should hold a key have the same version in the end; `settle_s` must be long enough for it."""


class Liars(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many of the scenario's peers, or that share of them, lie from `from_s` on, as a plug-in makes them.

    `plugin` is `module:attribute`: an object whose `outfit(shared)` returns what is done to each peer that was started;
    `shared` is a table that all plug-ins of a run have in common. Without a plug-in they do as the honest do, and are
    left out where honest peers are asked, judged and counted: what liars are compared with.
    """

    plugin: str = ""
    count: Number | None = None
    share: Share | None = None
    from_s: Instant = 0.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module; without steps, the plain one of `plain_steps`."""

    name: str = "join, put, get"
    peers: Annotated[int, msgspec.Meta(ge=1, le=HOSTS_MAX)] = DEFAULT_PEERS
    seed: int | None = None
    settle_s: Instant = 5.0
    signed: bool = True
    """False: the stand-in for signatures, also with few peers."""
    faults: Faults = Faults()
    settings: dict[str, Any] = {}
    step: list[AnyStep] = []
    liars: list[Liars] = []
    expect: Expect = Expect()


def plain_steps(peers: int) -> list[AnyStep]:
    """Return the steps of a run without a file: all join, values are put, and read from anywhere."""
    joined_s = max(1.0, peers / 50)
    put_at_s = joined_s + 5
    return [
        Join(at_s=0, over_s=joined_s),
        Put(at_s=put_at_s, over_s=5, keys=DEFAULT_KEYS),
        Get(at_s=put_at_s + 6, over_s=5, count=DEFAULT_GETS),
    ]


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file; raises UsageError."""
    try:
        return check(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read the scenario {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def check(content: dict[str, Any]) -> Scenario:
    """Return the scenario that a table describes; raises UsageError."""
    try:
        scenario = msgspec.convert(content, Scenario)
        msgspec.convert({"data": ".", **scenario.settings}, Settings, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UsageError(f"scenario: {error}") from error
    unknown = sorted(set(scenario.settings) - set(Settings.__struct_fields__))
    if unknown:
        raise UsageError(f"scenario: no such setting: {unknown[0]}", hint="docs/SETTINGS.md lists them")
    return scenario


def _decode(kind: type, value: object) -> object:
    return kind(value)

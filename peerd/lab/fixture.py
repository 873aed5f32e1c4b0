"""The pytest fixture `peer_lab`, for tests of whatever uses peerd: real daemons, gone when the test ends.

Installing peerd is enough; pytest finds it. A factory, so that the test says how many peers and how they are set:

    def test_what_alice_puts_bob_gets(peer_lab):
        lab = peer_lab(3)
        alice, bob, carol = lab.peers
        alice.put("notes", b"as they are")
        lab.kill(0)
        assert bob.get("notes") == b"as they are"
        assert carol.cli(["get", "nonsense"]).returncode == 3
        assert carol.api("GET", "/v1/status").json()["records"] == 1

`peer_lab(3, mdns=True, flags=["--copies", "2"], environment={"PEERD_PROBE_INTERVAL_S": "0.2"})` are those of `Lab.up`;
`lab.partition([0])`, `lab.heal()` and `lab.settle()` act on the network. Everything blocks: in an async test call it
through `asyncio.to_thread`. Where the test fails, the daemons' logs are in its report. May be called more than once.

Imports next to nothing: pytest loads this file in every run on a machine that has peerd, also where nobody uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from peerd.lab.lab import Lab

_LABS = pytest.StashKey["list[Lab]"]()


@pytest.fixture
def peer_lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """A factory: `peer_lab(3)` starts three peerd daemons that see each other and returns them as a Lab."""
    from contextlib import ExitStack  # noqa: PLC0415

    from peerd.lab.lab import Lab, sweep  # noqa: PLC0415  see above

    labs: list[Lab] = request.node.stash.setdefault(_LABS, [])

    def make(count: int, **given: Any) -> Lab:
        lab = Lab.temporary()
        labs.append(lab)
        lab.up(count, owned=True, **given)
        return lab

    sweep()
    with ExitStack() as stack:
        yield make
        for lab in labs:
            stack.callback(lab.down)


@pytest.hookimpl(hookwrapper=True)  # the form that every pytest takes, the newest too
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Put the daemons' logs into the report of a failed test."""
    outcome = yield
    labs = item.stash.get(_LABS, None)
    if labs:
        report = outcome.get_result()
        if report.failed:
            for lab in labs:
                report.sections += lab.logs()

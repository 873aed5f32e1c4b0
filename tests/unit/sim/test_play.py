import json
import os
import subprocess
import sys

import pytest

from peerd.sim.__main__ import main
from peerd.sim.network import Network
from peerd.sim.requests import Requests

JOIN = {"do": "join", "at_s": 0, "over_s": 1}


def _put(at_s, **fields):
    return {"do": "put", "at_s": at_s, "over_s": 1, **fields}


@pytest.mark.slow
def test_fifty_peers_serve_each_other_over_a_network_that_loses_and_repeats(simulate):
    report = simulate(
        peers=50,
        faults={"loss": 0.05, "duplicate": 0.05, "reorder": 0.05},
        settle_s=5,  # without losses, so that nobody is suspected any more
        step=[
            JOIN,
            _put(4, keys=40),
            {"do": "get", "at_s": 6, "over_s": 2, "count": 100},
            {"do": "faults", "at_s": 9, "faults": {"loss": 0.0}},
        ],
    )
    assert report.violations == []
    assert (report.put.ok, report.get.ok, report.check.ok) == (40, 100, 80)
    assert report.messages["lost"] > 100
    assert report.contacts["least"] == 49


@pytest.mark.slow
def test_writes_on_both_sides_of_a_partition_are_there_once_it_heals(simulate):
    report = simulate(
        peers=10,
        settle_s=25,
        step=[
            JOIN,
            _put(3, keys=5),
            {"do": "partition", "at_s": 5, "islands": [5, 5]},
            _put(15, keys=20, first=100),
            {"do": "heal", "at_s": 18},
        ],
    )
    assert report.violations == []
    assert (report.put.ok, report.check.ok) == (25, 50)
    assert report.contacts["least"] == 9


def test_a_crash_of_two_of_eight_holders_loses_nothing(simulate):
    report = simulate(
        peers=16,
        settle_s=3,
        faults={"sync_ms": 1},
        step=[
            JOIN,
            _put(3, keys=20),
            {"do": "crash", "at_s": 5, "count": 2, "holders_of": 7},
            {"do": "get", "at_s": 5.1, "over_s": 2, "count": 60},
        ],
    )
    assert report.violations == []
    assert report.living == 14
    assert (report.get.ok, report.check.ok) == (60, 40)


def test_peers_that_come_back_bring_what_they_had(simulate):
    report = simulate(
        peers=3,
        settle_s=5,
        step=[JOIN, _put(3, keys=10), {"do": "crash", "at_s": 5, "count": 3}, {"do": "restart", "at_s": 20}],
    )
    assert report.violations == []
    assert (report.living, report.check.ok) == (3, 20)


def reports_of_one_seed(*played):
    """Return what two processes that hash differently report of one seed, apart from what they took."""

    def start(hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "peerd.sim", "--seed", "5", *played, "--json"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)

    with start("1") as first, start("2") as second:
        reports = [json.loads(run.communicate()[0]) for run in (first, second)]
    for report in reports:
        del report["wall_s"], report["cpu_s"]
    return reports


@pytest.mark.slow
def test_one_seed_is_one_run_whatever_the_hash_seed():
    first, second = reports_of_one_seed("--mixed")
    assert first == second
    assert first["messages"]["delivered"] > 3000


def test_another_seed_is_another_run(simulate):
    traces = [simulate(peers=4, settle_s=1, step=[JOIN, _put(3, keys=3)], seed=seed).trace for seed in (1, 1, 2)]
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize(("peers", "suite"), [(3, "ed25519"), (501, "stand-in")])
def test_the_report_names_the_signatures(simulate, peers, suite):
    report = simulate(peers=peers, settle_s=1, step=[{"do": "join", "at_s": 0, "count": 3}])
    assert report.suite == suite
    assert f"signatures {suite}" in report.text()


def test_a_broken_promise_is_told_and_fails_the_run(capsys, monkeypatch):
    ask = Requests.get

    async def altered(self, host, name, *args, **kwargs):
        name.tried = {b"something else": None}
        await ask(self, host, name, *args, **kwargs)

    monkeypatch.setattr(Requests, "get", altered)
    assert main(["--peers", "3"]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_a_network_that_delivers_nothing_is_seen(simulate, monkeypatch):
    monkeypatch.setattr(Network, "open", lambda *_: False)
    report = simulate(peers=3, settle_s=1, step=[JOIN, _put(3, keys=3)])
    assert report.contacts["most"] == 0

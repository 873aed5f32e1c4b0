"""Overlays of different names or secrets on one LAN never mix, and who knocks at the wrong one is counted."""

import os
from pathlib import Path

import pytest

from tests.live.daemons import Daemons, meet, until
from tests.live.netns import Net, why_not

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(why_not()), reason=why_not() or "")]


def test_networks_and_keys_on_one_lan_stay_apart_and_knocking_is_counted(tmp_path: Path) -> None:
    with Net(6) as net, Daemons() as daemons:
        for number in (1, 2):
            key = tmp_path / f"key{number}"
            daemons_key = daemons.prepare(net.hosts[0], name=f"maker{number}")
            assert daemons_key.peer("keygen", key).code == 0
            assert key.stat().st_mode & 0o077 == 0
        flags = [
            [],
            [],
            ["--network", "other"],
            ["--network", "other"],
            ["--network-key", str(tmp_path / "key1")],
            ["--network-key", str(tmp_path / "key2")],
        ]
        plain, friend, named, named_friend, keyed, otherwise = [
            daemons.prepare(host, *flag).launch() for host, flag in zip(net.hosts, flags, strict=True)
        ]
        everybody = [plain, friend, named, named_friend, keyed, otherwise]
        for daemon in everybody:
            daemon.wait_ready()
        meet([plain, friend])
        meet([named, named_friend])
        plain.ok("put", "secret", "--value", "ours")
        assert friend.ok("get", "secret") == b"ours"

        # Named straight: the other networks' daemons are addressed, and still nothing comes of it.
        wrong = daemons.prepare(net.add_host(0), *(f"--bootstrap={host.address}:7433" for host in net.hosts[2:6]))
        wrong.launch().wait_ready()
        meet([plain, friend, wrong])
        until(lambda: named.rejected() > 0, 10, lambda: named.status()["rejected"])
        for daemon in (named, keyed, otherwise):
            print(f"{daemon.name} {daemon.flags[:1]} rejected: {daemon.status()['rejected']}")
        assert wrong.id not in named.states() and wrong.id not in keyed.states()
        ids = {daemon.id for daemon in everybody}
        assert set(plain.states()) & ids == {friend.id}
        assert set(named.states()) == {named_friend.id}
        assert keyed.states() == otherwise.states() == {}
        for stranger in (named, keyed, otherwise):
            assert stranger.peer("get", "secret").require_one_line(3)
            assert stranger.status()["network"] != plain.status()["network"] or stranger is not named


def test_holders_of_the_same_key_meet_whatever_the_file_is_called(tmp_path: Path) -> None:
    with Net(2) as net, Daemons() as daemons:
        text = os.urandom(32)
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(text)
            (tmp_path / name).chmod(0o600)
        alice, bob = (
            daemons.start(host, "--network-key", str(tmp_path / name))
            for host, name in zip(net.hosts, ("one", "two"), strict=True)
        )
        meet([alice, bob])
        alice.ok("put", "k", "--value", "v")
        assert bob.ok("get", "k") == b"v"


def test_a_key_that_others_can_change_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with Daemons() as daemons:
        key = tmp_path / "key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o666)
        daemon = daemons.prepare(None, "--network-key", str(key))
        assert "key" in daemon.refuse()[0]
        assert not daemon.data.exists()
        assert daemons.prepare(None, "--network-key", str(tmp_path / "absent")).refuse()
        key.chmod(0o600)
        key.write_bytes(b"")
        assert daemons.prepare(None, "--network-key", str(key)).refuse()

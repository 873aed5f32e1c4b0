import fcntl
from pathlib import Path

import pytest

from peerd.config.address import UNIX_PATH_MAX_BYTES
from peerd.errors import NotFoundError, UsageError
from peerd.lab import state
from peerd.lab.errors import LabError, NoLabError
from peerd.lab.lab import Lab
from peerd.lab.process import Process
from peerd.lab.state import LabState, PeerState, Place, default_directory


def _state(count: int = 3, **given: object) -> LabState:
    fields = {"mdns": False, "flags": [], "environment": {}, "cwd": "/", **given}
    return LabState(peers=[PeerState(index) for index in range(count)], **fields)  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "lab")
    with place.locked(make=True):
        place.make(_state())
    return place


def test_the_directory_is_the_named_one_else_of_the_runtime_else_of_this_user() -> None:
    named = {"PEERD_LAB": "/somewhere/lab", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert default_directory(named) == Path("/somewhere/lab")
    assert default_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/peerd-lab")
    assert default_directory({"XDG_RUNTIME_DIR": "no/path"}).name.startswith("peerd-lab-")


def test_what_is_saved_is_what_the_next_command_reads(place: Place) -> None:
    state = _state(2, cuts=[[1]], flags=["--copies", "2"])
    state.peers[1].process = Process(7, "then")
    place.save(state)
    assert place.load() == state


def test_without_a_lab_nothing_is_made_and_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "none")
    with pytest.raises(NoLabError, match="no lab is up") as raised:
        lab.kill(0)
    assert (raised.value.exit_code, raised.value.hint) == (4, "start one: peer lab up 3")
    assert lab.down() is False
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_is_not_there_is_not_found() -> None:
    for index in (-1, 3):
        with pytest.raises(NotFoundError) as raised:
            _state(3).peer(index)
        assert raised.value.hint == "it has 0 to 2"


def test_a_cut_holds_both_ways_and_cuts_add_up() -> None:
    state = _state(4, cuts=[[0, 1]])
    assert [state.cut_from(index) for index in range(4)] == [[2, 3], [2, 3], [0, 1], [0, 1]]
    state.cuts.append([1])
    assert [state.cut_from(index) for index in range(4)] == [[1, 2, 3], [0, 2, 3], [0, 1], [0, 1]]


def test_a_directory_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "peer-0").mkdir()
    (tmp_path / "peer-0" / "thesis").write_text("years of work")
    lab = Lab(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        lab.up(2)
    assert lab.down() is False
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["peer-0", "peer-0/thesis"]


def test_a_directory_that_others_can_write_in_is_refused(place: Place, tmp_path: Path) -> None:
    place.path.chmod(0o770)
    with pytest.raises(UsageError, match="others can write"):
        place.load()
    place.path.chmod(0o700)
    (tmp_path / "link").symlink_to(place.path)
    with pytest.raises(UsageError, match="others can write"):
        Place(tmp_path / "link").load()


def test_sockets_have_a_short_path_however_deep_the_lab_is_and_go_with_it(tmp_path: Path) -> None:
    place = Place(tmp_path / ("d" * 100))
    with place.locked(make=True):
        place.make(_state())
    run = place.socket(0).parent
    assert len(str(place.socket(state.PEERS_MAX))) <= UNIX_PATH_MAX_BYTES
    assert run.stat().st_mode & 0o777 == 0o700
    place.remove()
    assert not run.exists()
    assert not place.path.exists()


def test_removing_leaves_what_somebody_else_put_there(place: Place) -> None:
    (place.path / "mine").write_text("kept")
    place.remove()
    assert [path.name for path in place.path.iterdir()] == ["mine"]


def test_a_state_that_cannot_be_read_is_an_error_and_down_still_works(place: Place) -> None:
    (place.path / "lab.json").write_bytes(b'{"peers": 7}')
    with pytest.raises(LabError, match="cannot be read") as raised:
        place.load()
    assert raised.value.hint is not None
    assert Lab(place.path).down() is True
    assert not place.path.exists()


def test_a_second_lab_in_one_directory_is_refused(place: Place) -> None:
    with pytest.raises(LabError, match="up already"):
        Lab(place.path).up(2)
    assert place.load() == _state()


def test_one_command_at_a_time_changes_a_lab(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK_TIMEOUT_S", 0.01)
    with place.locked(), pytest.raises(LabError, match="another command"), place.locked():
        pass
    with place.locked():
        pass


def test_a_lock_on_a_lab_that_is_no_more_is_none_on_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` and another `up` come between opening the lock file and taking it."""
    take = fcntl.flock
    lock = place.path / "lock"

    def taken_late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        lock.unlink()
        lock.touch()
        take(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", taken_late)
    with place.locked():
        monkeypatch.setattr(state, "LOCK_TIMEOUT_S", 0.01)
        with pytest.raises(LabError, match="another command"), place.locked():
            pass

from pathlib import Path

import pytest

from peerd.config import HostPort, Loaded, Settings, UnixAddress, load
from peerd.config.load import Value
from peerd.errors import UsageError


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def _file(home: dict[str, str], text: str) -> Path:
    path = Path(home["HOME"]) / ".config" / "peerd" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def _refused(flags: dict[str, Value | None], environ: dict[str, str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(flags, environ)
    return caught.value


def test_without_a_word_everything_has_its_default(home: dict[str, str]) -> None:
    settings, warnings, _ = load({}, home)
    data = Path(home["HOME"]) / ".local/share/peerd"
    assert settings == Settings(data=data, api=(UnixAddress(data / "api.sock"), HostPort("127.0.0.1", 7434)))
    assert settings.listen_on == (("0.0.0.0", 7433), ("::", 7433))
    assert warnings == []


def test_flags_win_over_environment_over_file_over_default(home: dict[str, str]) -> None:
    _file(home, 'copies = 4\nnetwork = "file"\nmembers_max = 99\n')
    environ = home | {"PEERD_COPIES": "5", "PEERD_NETWORK": "environment"}
    settings = load({"copies": "6"}, environ).settings
    assert (settings.copies, settings.network, settings.members_max, settings.log_level) == (
        6,
        "environment",
        99,
        "info",
    )


def test_the_xdg_directories_are_where_things_are(tmp_path: Path) -> None:
    (tmp_path / "c" / "peerd").mkdir(parents=True)
    (tmp_path / "c" / "peerd" / "config.toml").write_text("copies = 7")
    environ = {f"XDG_{name}": str(tmp_path / name[0].lower()) for name in ("CONFIG_HOME", "DATA_HOME", "RUNTIME_DIR")}
    settings = load({}, environ).settings
    assert settings.copies == 7
    assert settings.data == tmp_path / "d" / "peerd"
    assert settings.api[0] == UnixAddress(tmp_path / "r" / "peerd" / "api.sock")


def test_a_relative_xdg_directory_is_ignored(home: dict[str, str]) -> None:
    environ = home | {"XDG_DATA_HOME": "data", "XDG_RUNTIME_DIR": "run"}
    assert load({}, environ) == load({}, home)


def test_a_given_api_replaces_both_defaults(home: dict[str, str]) -> None:
    assert load({"api": ("127.0.0.1:0",)}, home).settings.api == (HostPort("127.0.0.1", 0),)


def test_values_of_every_type_come_from_the_environment(home: dict[str, str]) -> None:
    environ = home | {
        "PEERD_LISTEN": "[::1]:0",
        "PEERD_NETWORK_KEY": "/k",
        "PEERD_BOOTSTRAP": "a:1, [::1]:2,a:1,",
        "PEERD_MDNS": "0",
        "PEERD_INTERFACES": "eth0,192.168.1.5",
        "PEERD_QUOTA": "20GB",
        "PEERD_CACHE_MAX_BYTES": "0",
        "PEERD_PROBE_INTERVAL_S": "0.5",
        "PEERD_LOG_LEVEL": "DEBUG",
        "PEERD_LOG_FORMAT": "json",
        "PEERD_COPIES": "",
    }
    settings, warnings, _ = load({}, environ)
    assert warnings == []
    assert settings.listen_on == (("::1", 0),)
    assert settings.network_key == Path("/k")
    assert settings.bootstrap == (("a", 1), ("::1", 2))
    assert settings.mdns is False
    assert settings.interfaces == ("eth0", "192.168.1.5")
    assert (settings.quota_bytes, settings.cache_max_bytes, settings.probe_interval_s) == (20 * 10**9, 0, 0.5)
    assert (settings.log_level, settings.log_format, settings.copies) == ("debug", "json", 3)


def test_the_file_takes_toml_of_every_type_and_paths_relative_to_itself(home: dict[str, str]) -> None:
    path = _file(
        home,
        'mdns = false\nbootstrap = ["a:1", "b:2"]\ninterfaces = "eth0"\nquota = 1_073_741_824\n'
        'probe_interval_s = 2\nnetwork_key = "secret.key"\napi = ["unix:api.sock"]\n',
    )
    settings = load({}, home).settings
    assert (settings.mdns, settings.bootstrap, settings.interfaces) == (False, (("a", 1), ("b", 2)), ("eth0",))
    assert (settings.quota_bytes, settings.probe_interval_s) == (2**30, 2.0)
    assert settings.network_key == path.parent / "secret.key"
    assert settings.api == (UnixAddress(path.parent / "api.sock"),)


def test_paths_of_flags_are_relative_to_where_peerd_starts(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home["HOME"])
    assert load({"data": "d"}, home).settings.data == Path(home["HOME"]) / "d"


@pytest.mark.parametrize(
    ("flags", "environ"),
    [({"config": "FILE"}, {}), ({}, {"PEERD_CONFIG": "FILE"}), ({"config": "FILE"}, {"PEERD_CONFIG": "no"})],
)
def test_the_file_is_where_flag_or_variable_says(
    flags: dict[str, Value | None], environ: dict[str, str], home: dict[str, str]
) -> None:
    path = Path(home["HOME"]) / "other.toml"
    path.write_text("copies = 9")
    flags = {name: str(path) for name in flags}
    environ = {name: text.replace("FILE", str(path)) for name, text in environ.items()}
    assert load(flags, home | environ).settings.copies == 9


def test_a_file_that_was_asked_for_must_be_there(home: dict[str, str]) -> None:
    assert "no settings file /none" in _refused({"config": "/none"}, home).message


@pytest.mark.parametrize("text", ["copies", "copies = 1\ncopies = 2", "\x00"])
def test_a_broken_file_is_named(text: str, home: dict[str, str]) -> None:
    path = _file(home, text)
    assert str(path) in _refused({}, home).message


def test_a_directory_in_place_of_the_file_is_refused(home: dict[str, str]) -> None:
    assert "cannot read" in _refused({"config": home["HOME"]}, home).message


def test_an_unknown_key_of_the_file_is_an_error_that_names_the_nearest(home: dict[str, str]) -> None:
    path = _file(home, "probe_intervall_s = 1\n")
    error = _refused({}, home)
    assert error.message == f"{path}: unknown setting 'probe_intervall_s'"
    assert error.hint == "the nearest known one is probe_interval_s"


def test_an_unknown_variable_is_a_warning_that_names_the_nearest(home: dict[str, str]) -> None:
    loaded = load({}, home | {"PEERD_COPYS": "5", "PEERD_ZZZ": "1"})
    assert loaded == Loaded(
        load({}, home).settings,
        [
            "unknown variable PEERD_COPYS: the nearest known one is PEERD_COPIES",
            "unknown variable PEERD_ZZZ: docs/SETTINGS.md lists them all",
        ],
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("copies", "0"),
        ("copies", "256"),
        ("copies", "many"),
        ("copies", "2.5"),
        ("listen", "7433"),
        ("network", "a\nb"),
        ("network", ""),
        ("network", "ä" * 128),
        ("quota_bytes", "20XB"),
        ("quota_bytes", "1000"),
        ("data", "a\0b"),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_wrong_flag_is_refused_with_its_name_and_a_way_out(name: str, text: str, home: dict[str, str]) -> None:
    error = _refused({name: text}, home)
    flag = "--quota" if name == "quota_bytes" else "--" + name.replace("_", "-")
    assert error.message.startswith(f"{flag}: ")
    assert error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PEERD_PROBE_INTERVAL_S", "nan"),
        ("PEERD_PROBE_INTERVAL_S", "inf"),
        ("PEERD_PROBE_INTERVAL_S", "-1"),
        ("PEERD_PROBE_INTERVAL_S", "1s"),
        ("PEERD_MDNS", "maybe"),
        ("PEERD_BOOTSTRAP", "alice"),
        ("PEERD_BOOTSTRAP", "alice:0"),
        ("PEERD_BOOTSTRAP", ",".join(f"a{i}:1" for i in range(300))),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name(variable: str, text: str, home: dict[str, str]) -> None:
    error = _refused({}, home | {variable: text})
    assert error.message.startswith(f"{variable}: ")
    assert error.hint


@pytest.mark.parametrize("text", ["copies = [1]", "copies = {a = 1}", "bootstrap = [[1]]", "data = 2020-01-01"])
def test_a_value_of_another_type_in_the_file_is_refused_with_file_and_key(text: str, home: dict[str, str]) -> None:
    path = _file(home, text)
    assert _refused({}, home).message.startswith(f"{path}: {text.split()[0]}: ")


@pytest.mark.parametrize("name", ["coordinator"])
def test_what_this_version_has_not_is_refused_by_name(name: str, home: dict[str, str]) -> None:
    assert _refused({name: "x:1"}, home).message == f"--{name}: not in this version"
    assert _refused({}, home | {f"PEERD_{name.upper()}": "x:1"}).message == f"PEERD_{name.upper()}: not in this version"
    path = _file(home, f'{name} = "x:1"')
    assert _refused({}, home).message == f"{path}: {name}: not in this version"


def test_one_port_for_overlay_and_api_is_refused(home: dict[str, str]) -> None:
    error = _refused({"listen": "0.0.0.0:7434"}, home)
    assert error.message == "--listen: port 7434 is the overlay's and the API's"


def test_a_suspicion_shorter_than_a_probe_is_refused(home: dict[str, str]) -> None:
    assert "probed again" in _refused({}, home | {"PEERD_SUSPECT_TIMEOUT_S": "0.5"}).message
    assert "probed again" in _refused({}, home | {"PEERD_PROBE_INTERVAL_S": "20"}).message


def test_a_user_without_a_home_is_told_to_name_the_data_directory() -> None:
    assert "--data" in (_refused({}, {}).hint or "")
    assert load({"data": "/d"}, {}).settings.data == Path("/d")


def test_a_data_directory_too_deep_for_its_socket_is_refused(home: dict[str, str]) -> None:
    error = _refused({"data": "/" + "d" * 120}, home)
    assert "at most 103 bytes" in error.message


def test_a_relative_socket_counts_with_its_directory(home: dict[str, str]) -> None:
    _file(home, f'api = "unix:{"d" * 90}"')
    assert "at most 103 bytes" in _refused({}, home).message


@pytest.mark.parametrize(("quota", "bytes_"), [(None, 100), (5, 5)])
def test_the_quota_is_a_tenth_of_the_file_system_unless_said(quota: int | None, bytes_: int) -> None:
    assert Settings(data=Path("/d"), quota_bytes=quota).quota_of(1000) == bytes_

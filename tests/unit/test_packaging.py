import configparser
from pathlib import Path

import peerd

ROOT = Path(__file__).parents[2]
FOLDERS = ("peerd", "cli", "peerd_fsspec")


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_installed_and_cli_under_its_own_name() -> None:
    listed = set(_setup()["options"]["packages"].split())
    folders = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert listed == {
        ".".join(path.relative_to(ROOT).parts).replace("cli", "peerd_cli", 1)
        if path.is_relative_to(ROOT / "cli")
        else ".".join(path.relative_to(ROOT).parts)
        for path in folders
    }
    assert all((path / "__init__.py").exists() for path in folders)


def test_every_file_that_is_no_module_is_package_data() -> None:
    listed = {
        (section, pattern) for section, text in _setup()["options.package_data"].items() for pattern in text.split()
    }
    for name in FOLDERS:
        for path in (ROOT / name).rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            if path.is_file() and not hidden and path.suffix not in {".py", ".pyc"}:
                package = ".".join(path.parent.relative_to(ROOT).parts)
                assert any(section == package and path.match(pattern) for section, pattern in listed), path


def test_the_version_is_said_once_and_has_its_line_in_the_changelog() -> None:
    assert _setup()["metadata"]["version"] == "attr: peerd.__version__"
    assert f"## {peerd.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_entry_point_exists() -> None:
    points = _setup()["options.entry_points"]
    for line in "\n".join(points.values()).split("\n"):
        if line.strip():
            module = line.partition("=")[2].strip().partition(":")[0]
            path = ROOT.joinpath(*module.replace("peerd_cli", "cli").split("."))
            assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), line


def test_the_fixture_for_users_tests_is_registered_where_it_is_shipped() -> None:
    shipped = (ROOT / "peerd" / "lab" / "fixture.py").exists()
    assert ("pytest11" in _setup()["options.entry_points"]) == shipped

"""The rows of the architecture where import-linter does not look: the standard library, and cli/."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURE = ("cache", "clock", "content", "errors", "identity", "ids", "kad", "records", "swarm", "trust", "wire")
IMPURE = {
    "asyncio", "concurrent", "http", "logging", "loguru", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "selectors", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib", "uuid",
}  # fmt: skip

# `kademlia` reads a clock and starts tasks; the one module that uses it overrides what does.
KADEMLIA = {Path("peerd/kad/table.py"), Path("peerd/kad/buckets.py")}

# Forms of addresses, and nothing that opens one.
ALLOWED = {
    (Path("peerd/kad/contact.py"), f"socket.{name}") for name in ("AF_INET", "AF_INET6", "inet_ntop", "inet_pton")
}


def _modules(*names: str) -> Iterator[Path]:
    for name in names:
        base = ROOT / "peerd" / name
        yield from sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]


def _imports(path: Path) -> Iterator[str]:
    """Every module, and every name from a module, that `path` imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", list(_modules(*PURE)), ids=lambda path: str(path.relative_to(ROOT / "peerd")))
def test_the_core_touches_no_socket_file_clock_thread_or_chance(path: Path) -> None:
    where = path.relative_to(ROOT)
    wrong = [name for name in _imports(path) if name.split(".")[0] in IMPURE and (where, name) not in ALLOWED]
    assert wrong == []


@pytest.mark.parametrize("path", list(_modules(*PURE)), ids=lambda path: str(path.relative_to(ROOT / "peerd")))
def test_the_core_opens_and_prints_nothing(path: Path) -> None:
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"breakpoint", "eval", "exec", "input", "open", "print", "__import__"} == set()


def test_only_the_routing_table_knows_the_kademlia_package() -> None:
    users = {
        path.relative_to(ROOT)
        for path in (ROOT / "peerd").rglob("*.py")
        for name in _imports(path)
        if name.split(".")[0] == "kademlia"
    }
    assert users <= KADEMLIA


def test_the_users_command_line_imports_nothing_of_the_daemon() -> None:
    wrong = [
        (path.name, name)
        for path in (ROOT / "cli").rglob("*.py")
        for name in _imports(path)
        if name.split(".")[0] == "peerd"
    ]
    assert wrong == []


def test_every_pure_part_is_there() -> None:
    for name in PURE:
        assert list(_modules(name)), name

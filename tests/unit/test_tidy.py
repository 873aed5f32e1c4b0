"""The style that a machine can check and ruff does not (CONTRIBUTING.md)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FUNCTION_MAX_LINES = 70
MODULE_MAX_LINES = 450

CODE = sorted(path for folder in ("peerd", "cli", "peerd_fsspec", "tests") for path in (ROOT / folder).rglob("*.py"))
SHIPPED = [path for path in CODE if not path.is_relative_to(ROOT / "tests")]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile", ROOT / "setup.cfg", ROOT / ".ci" / "run"]
)

# Where a catch-all stands by right: the program's last one and the owner of background tasks log with the trace, the
# store's writer hands the error to whoever awaits the job.
CATCH_ALL = {"peerd/start.py", "peerd/io/store/writer.py", "peerd/node/tasks.py"}

# Split, so that this file does not speak of itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|Not" r"ImplementedError)\b|<<<" r"<<<<|>>>" r">>>>")
MACHINE = re.compile(r"(?<![\w.])/(wo" r"rk|ro" r"ot|ho" r"me/(?!alice|bob|carol|mallory)\w+)/")
TRACKER = re.compile(r"(?i)\bissue #?\d|\(#\d+\)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    return handler.type is None or bool(names & {"BaseException", "Exception"})


def _nodes(path: Path, *words: str) -> Iterator[ast.AST]:
    """Every node of a module in which one of these words occurs: to parse all of them takes seconds."""
    text = path.read_text()
    if any(word in text for word in words):
        yield from ast.walk(ast.parse(text))


def _lines(paths: list[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield f"{_name(path)}:{number}", line


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{_name(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in CODE
        for node in _nodes(path, "def ")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > FUNCTION_MAX_LINES
    }
    assert long == {}


def test_no_module_holds_more_than_one_idea() -> None:
    long = {_name(path): count for path in SHIPPED if (count := len(path.read_text().splitlines())) > MODULE_MAX_LINES}
    assert long == {}


def test_every_module_says_what_it_is() -> None:
    assert [_name(path) for path in SHIPPED if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_nothing_swallows_everything() -> None:
    """A catch-all may clean up and raise again; ending there is the right of a program's last one."""
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in SHIPPED
        for node in _nodes(path, "except")
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not isinstance(node.body[-1], ast.Raise)
        if _name(path) not in CATCH_ALL
    ]
    assert found == []


def test_every_task_has_an_owner() -> None:
    """What is started is kept by who waits for it or cancels it; a TaskGroup keeps its own."""
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in SHIPPED
        for node in _nodes(path, "create_task", "ensure_future")
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        if re.match(r"(asyncio|.*loop(\(\))?)\.(create_task|ensure_future)\(", ast.unparse(node.value))
    ]
    assert found == []


def test_nothing_waits_in_a_way_that_swallows_a_cancellation() -> None:
    """`asyncio.wait_for` of 3.11 forgets one that comes as its work ends; `asyncio.timeout` does not."""
    swallowing = re.compile(r"\basyncio\b.*\bwait_for\b")
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in CODE
        for node in _nodes(path, "wait_for")
        if isinstance(node, ast.Attribute | ast.ImportFrom) and swallowing.search(ast.unparse(node))
    ]
    assert found == []


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE, TRACKER], ids=["unfinished", "machine", "tracker"])
def test_no_line_speaks_of_what_is_not_the_project(pattern: re.Pattern[str]) -> None:
    assert [where for where, line in _lines(CODE + PAGES) if pattern.search(line)] == []


def test_no_page_links_to_a_page_that_is_not_there() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{_name(path)}: {target}"

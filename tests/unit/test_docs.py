"""The documents against the code: commands, options, exit codes, paths, variables, links, packages."""

import configparser
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.failure import EXIT_FAILED, EXIT_OF_CODE, Failure
from cli.parse import Invocation, parse
from cli.table import COMMANDS, GLOBAL_OPTIONS, NOT_IN_THIS_VERSION
from peerd.api import errors as api_errors
from peerd.api.routes import ROUTES
from peerd.config.entries import entries
from peerd.config.table import LATER
from peerd.errors import PeerdError
from peerd.identities import identity as identity_program
from peerd.lab.__main__ import program as lab_program
from peerd.lab.state import DIRECTORY_VARIABLE
from peerd.node import results
from peerd.program import program as peerd_program
from peerd.sim.__main__ import command as sim_command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
MAKEFILE = (ROOT / "Makefile").read_text()
VARIABLES = {entry.variable for entry in entries()} | {"PEERD_CONFIG", DIRECTORY_VARIABLE}

_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|[|;(]|&&|-- )\s*((?:peerd|peer)(?: [^|;)<>]*)?)(?=$|[|;)<>])")
# What stands for a number or one of a few words in the usage lines of the documents.
_STAND_INS = {"N": "1", "S": "1", "I": "1", "SECONDS": "1", "LEVEL": "info"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _page(name: str) -> str:
    return (DOCS / name).read_text()


def _blocks(page: Path) -> Iterator[str]:
    """Yield the lines of the page's code blocks, without comments and what stands in a column of its own.

    Blocks marked as `text` are output and no commands.
    """
    for block in (block for kind, block in _FENCE.findall(page.read_text()) if kind != "text"):
        for line in block.splitlines():
            yield re.sub(r"(^|\s)#\s.*|(?<=\S)   .*", "", line).strip()


def _inlines(page: Path) -> Iterator[str]:
    yield from _INLINE.findall(_FENCE.sub("", page.read_text()))


def _commands(page: Path) -> list[list[str]]:
    """Return the invocations of `peer` and `peerd` on a page, in code blocks and in running text."""
    found = [_words(match) for line in _blocks(page) for match in _COMMAND.findall(line)]
    inline = [text for text in _inlines(page) if re.match(r"(peer|peerd) [-a-z]", text) and "…" not in text]
    found += [_completed(_words(text)) for text in inline]
    # What the programs print begins like a command too (`peerd ready …`, `peer get: …`); help ends where it is shown.
    printed = re.compile(r"ready|.*:")
    return [words for words in found if not printed.fullmatch(words[1] if words[1:] else "") and "--help" not in words]


def _words(text: str) -> list[str]:
    return [_STAND_INS.get(word, word) for word in shlex.split(text)]


def _completed(words: list[str]) -> list[str]:
    """Return a command of running text with an operand where it only names the command, as in `peer put`."""
    command = COMMANDS.get(words[1]) if words[0] == "peer" else None
    needs_one = command is not None and any(operand.required for operand in command.operands)
    return [*words, "x"] if needs_one and all(word.startswith("-") for word in words[2:]) else words


def _check(words: list[str]) -> None:
    """Raise where the command line is none: the program's own parser is asked."""
    if words[0] == "peer":
        invocation = Invocation()
        parse(words[1:], invocation)
        if invocation.command is not None and invocation.command.name == "lab" and invocation.operands:
            _check_lab(invocation.operands)
    elif words[0] == "peerd":
        _check_peerd(words[1:])


def _check_lab(words: list[str]) -> None:
    while words[0].startswith("-"):
        words = words[2 if words[0] == "--dir" else 1 :]
    made = lab_program.commands[words[0]].make_context(words[0], words[1:])
    command = [word for word in made.params.get("command", ()) if word != "--"]
    if command:
        _check(command)


def _check_peerd(words: list[str]) -> None:
    if not words or words[0].startswith("-"):
        words = ["run", *words]
    command = peerd_program.commands[words[0]]
    assert not command.hidden, words
    if words[0] == "identity" and words[1:]:
        identity_program.commands[words[1]].make_context(words[1], words[2:])
        return
    made = (sim_command if words[0] == "sim" else command).make_context(words[0], words[1:])
    assert not any(made.params.get(name) for name in LATER), words


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_line_is_one_that_the_programs_take(page: Path) -> None:
    wrong = []
    for words in _commands(page):
        try:
            _check(words)
        except (Failure, click.ClickException, KeyError) as error:
            wrong.append(f"{shlex.join(words)}: {error}")
    assert wrong == []


def test_a_wrong_command_line_would_be_noticed() -> None:
    for text in (
        "peer gett x",
        "peer get x --nope",
        "peer lab upp 3",
        "peer lab exec 0 -- peer gett x",
        "peerd --nope",
    ):
        with pytest.raises((Failure, click.ClickException, KeyError)):
            _check(_words(text))
    assert _COMMAND.findall('eval "$(peer completion bash)"') == ["peer completion bash"]
    assert _COMMAND.findall("x && peer ls | peer put k -") == ["peer ls ", "peer put k -"]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_target_and_variable_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \??:?=", MAKEFILE, re.MULTILINE)) | {"BENCH"}
    assert "$(BENCH)" in MAKEFILE
    for text in [*_blocks(page), *_inlines(page)]:
        for words in re.findall(r"(?:^|&& )make((?: [^&;|]+)?)", text):
            for word in words.split():
                variable, equals, _ = word.partition("=")
                assert variable in (variables if equals else targets), f"{_name(page)}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_within_the_project_resolves(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(page.parent / path)) if path else page
        assert file.exists(), f"{_name(page)}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{_name(page)}: {target}"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_variable_named_is_read(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"\bPEERD_[A-Z_]+[A-Z]\b", text)) <= VARIABLES
    source = (ROOT / "cli" / "endpoint.py").read_text()
    assert all(f'"{name}"' in source for name in re.findall(r"\bPEER_[A-Z_]+\b", text))


def test_the_exit_codes_listed_are_those_of_the_code() -> None:
    listed = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", _page("COMMANDS.md"), re.MULTILINE))
    assert {code: int(status) for status, code in listed.items()} == EXIT_OF_CODE
    for error in _error_classes():
        assert error.exit_code == EXIT_OF_CODE.get(error.code, EXIT_FAILED), error


def test_the_http_errors_listed_are_those_of_the_code() -> None:
    listed = re.findall(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \| (\d+) \|", _page("HTTP.md"), re.MULTILINE)
    told = {
        (code, status, int(exit_code))
        for codes, statuses, exit_code in listed
        for code in re.findall(r"`(\w+)`", codes)
        for status in re.findall(r"\b[45]\d\d\b", statuses)
    }
    raised = {(error.code, str(error.http_status), error.exit_code) for error in _error_classes()}
    assert told == raised | {("usage", "404", 2), ("usage", "405", 2)}


def _error_classes() -> set[type[PeerdError]]:
    assert api_errors.UnavailableError.code == "unavailable"
    found: set[type[PeerdError]] = set()
    waiting: list[type[PeerdError]] = [PeerdError]
    while waiting:
        error = waiting.pop()
        # Errors of tests and of the harness are none of the API's.
        if error.__module__ in {"peerd.errors", "peerd.api.errors"}:
            found.add(error)
            waiting += error.__subclasses__()
    return found


def test_every_command_and_option_is_described() -> None:
    page = _page("COMMANDS.md")
    for command in COMMANDS.values():
        assert f"`peer {command.name}" in page, command.name
        for option in (*command.options, *GLOBAL_OPTIONS):
            assert all(re.search(rf"(?<![-\w]){re.escape(name)}(?![-\w])", page) for name in option.names), option.names
    assert all(entry.option in page for entry in entries() if entry.option is not None)
    missing = page[page.index("## Not in this version") :]
    assert {name for name in NOT_IN_THIS_VERSION if f"`{name}`" not in missing} == set()
    assert all(f"`{flag.split()[0]}`" in missing for flag in LATER.values())


def test_every_option_described_exists() -> None:
    known = {name for command in COMMANDS.values() for option in command.options for name in option.names}
    known |= {name for option in GLOBAL_OPTIONS for name in option.names}
    known |= {entry.option for entry in entries() if entry.option is not None} | {"--config"}
    known |= {flag.split()[0] for flag in LATER.values()}
    for command in (sim_command, lab_program, *lab_program.commands.values(), *identity_program.commands.values()):
        known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", _page("COMMANDS.md"))) <= known | {"--help"}


def test_every_path_of_the_api_is_described_and_there_are_no_others() -> None:
    page = _page("HTTP.md")
    described: set[tuple[str, str]] = set()
    for methods, paths in re.findall(r"^\| `([A-Z]+(?:`, `[A-Z]+)*) (/.*?)` \|", page, re.MULTILINE):
        for path in paths.split("`, `"):
            described |= {(method, path.partition("?")[0]) for method in methods.split("`, `")}
    assert described <= {(route.method, route.path) for route in ROUTES}
    left_out = {(route.method, route.path) for route in ROUTES} - described
    # HEAD of the health paths goes without saying; `/` is a placeholder of the dashboard.
    assert left_out == {("HEAD", "/v1/health/live"), ("HEAD", "/v1/health/ready"), ("GET", "/")}


def test_parameters_described_are_those_of_the_routes() -> None:
    page = _page("HTTP.md")
    for words, method, path in (
        ("PUT of a key", "PUT", "/v1/kv/{key}"),
        ("POST of content", "POST", "/v1/content"),
        ("GET, HEAD", "GET", "/v1/kv/{key}"),
        ("DELETE", "DELETE", "/v1/kv/{key}"),
        ("stat, history", "GET", "/v1/kv/{key}/stat"),
    ):
        row = re.search(rf"^\| {words} \| (.*) \|$", page, re.MULTILINE)
        assert row is not None, words
        route = next(route for route in ROUTES if (route.method, route.path) == (method, path))
        assert set(re.findall(r"`([a-z-]+)`", row[1])) == {param.name for param in route.params}, words


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ("`put`, `add`, `rm`", [results.Put]),
        ("`get -o`", [results.Get]),
        ("`stat`", [results.Stat, results.Holder]),
        ("`history`", [results.HistoryEntry]),
        ("`ls`", [results.Entry]),
        ("`find`", [results.Find, results.Hop]),
        ("`pin`, `unpin`", [results.Pinned]),
        ("`status`", [results.Status]),
        ("`peers`", [results.PeerInfo]),
        ("`evidence`", [results.Evidence]),
        ("`ping`", [results.Ping]),
    ],
)
def test_every_field_of_an_answer_is_described(words: str, kinds: list[type]) -> None:
    table = _page("COMMANDS.md").partition("## JSON")[2]
    row = next(line for line in table.splitlines() if line.startswith(f"| {words} |"))
    fields = {name for kind in kinds for name in kind.__struct_fields__}  # type: ignore[attr-defined]
    assert fields - set(re.findall(r"`(\w+)`", row)) <= {"stale_since_s"}


def test_every_package_has_its_reason_and_no_other_is_told() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    wanted = "\n".join([parser["options"]["install_requires"], *parser["options.extras_require"].values()])
    packages = set(re.findall(r"^([a-z][\w-]+)(?=[<>=])", wanted, re.MULTILINE))
    told = set(re.findall(r"^\| `([\w-]+)` \|", _page("DEPENDENCIES.md"), re.MULTILINE))
    assert told == packages


@pytest.mark.parametrize(("page", "least"), [("GUARANTEES.md", 30), ("THREATS.md", 5)])
def test_every_test_named_exists(page: str, least: int) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _page(page))
    assert len(named) > least
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"


def test_every_threat_names_its_defence_and_its_test_and_says_what_remains() -> None:
    rows = [line for line in _page("THREATS.md").splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 5
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 6 and all(cells), row
        defences = re.findall(r"`((?:peerd|peerd_fsspec)/[\w/]+\.py|cli/[\w/]+\.py)::(\w+)`", cells[3])
        assert defences, row
        for path, name in defences:
            code = (ROOT / path).read_text()
            assert re.search(rf"^\s*((async )?def|class) {name}\b|^{name}\b", code, re.MULTILINE), f"{path}::{name}"
        assert re.search(r"`tests/[\w/]+\.py::\w+`", cells[4]), row

"""Removes the checks of table.py one at a time, in a copy of the project, and runs their tests: each must go red.

    python -m tests.mutation            all
    python -m tests.mutation 1.1 4      those of a row of docs/THREATS.md, or of a section
    python -m tests.mutation --jobs 1   one after the other; else as many at a time as there are processors

Exit status 1 where a check can be removed and nobody notices, or where a test is red, or skipped, without that.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from queue import Queue

from tests.mutation.table import TABLE, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("peerd", "cli", "peerd_fsspec", "tests", "docs", "setup.cfg", "pyproject.toml", "Makefile", "README.md")
LIMIT_S = 300.0
FILES_AT_A_TIME = 10
# What pytest returns where tests ran, and some failed.
RED = 1


def main(argv: Sequence[str]) -> int:
    """Try them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("threats", nargs="*", help="rows or sections of docs/THREATS.md; all without any")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many are tried at a time")
    told = parser.parse_args(argv)
    chosen = [each for each in TABLE if not told.threats or _is_of(each, told.threats)]
    with tempfile.TemporaryDirectory(prefix="peerd-mutation-") as folder:
        copies: Queue[Path] = Queue()
        for number in range(max(1, told.jobs)):
            copies.put(_copied(Path(folder) / str(number)))
        with ThreadPoolExecutor(max(1, told.jobs)) as pool:
            red = [output for output in pool.map(lambda tests: _red(copies, tests), _batches(chosen)) if output]
            if red:
                print("red though nothing was removed:", *red, sep="\n")
                return 1
            noticed = sum(pool.map(lambda each: _noticed(copies, each), chosen))
    print(f"{len(chosen)} checks removed, one at a time: {noticed} noticed")
    return 0 if noticed == len(chosen) else 1


def _copied(copy: Path) -> Path:
    copy.mkdir()
    for name in COPIED:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy2(path, copy / name)
    return copy


def _batches(chosen: Sequence[Mutation]) -> list[list[str]]:
    """Return the tests of some, those of a few files together: a run has an end, and its start is paid for once."""
    by_file: dict[str, list[str]] = {}
    for test in sorted({test for each in chosen for test in each.tests}):
        by_file.setdefault(test.partition("::")[0], []).append(test)
    files = list(by_file.values())
    return [list(chain(*files[at : at + FILES_AT_A_TIME])) for at in range(0, len(files), FILES_AT_A_TIME)]


def _red(copies: "Queue[Path]", tests: Sequence[str]) -> str:
    """Run tests of which nothing was removed; return what they say where one is not green."""
    copy = copies.get()
    try:
        code, output = _run(copy, tests)
    finally:
        copies.put(copy)
    return output if code else ""


def _is_of(mutation: Mutation, threats: Sequence[str]) -> bool:
    return mutation.threat in threats or mutation.threat.partition(".")[0] in threats


def _noticed(copies: "Queue[Path]", mutation: Mutation) -> bool:
    """Remove one check; return whether each of its tests goes red. Say how it went."""
    copy = copies.get()
    began = time.monotonic()
    path = copy / mutation.file
    whole = path.read_text(encoding="utf-8")
    assert whole.count(mutation.old) == 1, f"{mutation.threat}: not exactly once in {mutation.file}: {mutation.old!r}"
    path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        blind = [test for test in mutation.tests if _run(copy, [test])[0] != RED]
    finally:
        path.write_text(whole, encoding="utf-8")
        copies.put(copy)
    took_s = time.monotonic() - began
    what = "noticed" if not blind else f"NOT NOTICED by {', '.join(blind)}"
    print(f"{mutation.threat:5} {mutation.file}: {what} ({took_s:.1f} s)", flush=True)
    return not blind


def _run(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of the copy; return pytest's exit status and what it said."""
    # In its own process and before all installed packages: the copy is what is imported.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return RED, f"no end in {LIMIT_S:g} s: {' '.join(tests)}"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

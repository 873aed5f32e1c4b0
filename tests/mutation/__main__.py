"""Removes the checks of table.py one at a time, in a copy of the project, and runs their tests: each must go red.

    python -m tests.mutation            all
    python -m tests.mutation 1.1 4      those of a row of docs/THREATS.md, or of a section

Exit status 1 where a check can be removed and nobody notices, or where a test is red without that.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.table import TABLE, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("peerd", "cli", "peerd_fsspec", "tests", "docs", "setup.cfg", "pyproject.toml", "Makefile", "README.md")
LIMIT_S = 300.0
# What pytest returns where tests ran, and some failed.
RED = 1


def main(argv: Sequence[str]) -> int:
    """Try them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("threats", nargs="*", help="rows or sections of docs/THREATS.md; all without any")
    told = parser.parse_args(argv)
    chosen = [each for each in TABLE if not told.threats or _is_of(each, told.threats)]
    with tempfile.TemporaryDirectory(prefix="peerd-mutation-") as folder:
        copy = Path(folder) / "project"
        copy.mkdir()
        for name in COPIED:
            path = ROOT / name
            if path.is_dir():
                shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif path.exists():
                shutil.copy2(path, copy / name)
        tests = sorted({test for each in chosen for test in each.tests})
        code, output = _run(copy, tests)
        if code:
            print(f"red though nothing was removed:\n{output}")
            return 1
        unnoticed = [each for each in chosen if not _noticed(copy, each)]
    print(f"{len(chosen)} checks removed, one at a time: {len(chosen) - len(unnoticed)} noticed")
    return 1 if unnoticed else 0


def _is_of(mutation: Mutation, threats: Sequence[str]) -> bool:
    return mutation.threat in threats or mutation.threat.partition(".")[0] in threats


def _noticed(copy: Path, mutation: Mutation) -> bool:
    """Remove one check; return whether each of its tests goes red. Say how it went."""
    began = time.monotonic()
    path = copy / mutation.file
    whole = path.read_text(encoding="utf-8")
    assert whole.count(mutation.old) == 1, f"{mutation.threat}: not exactly once in {mutation.file}: {mutation.old!r}"
    path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        blind = [test for test in mutation.tests if _run(copy, [test])[0] != RED]
    finally:
        path.write_text(whole, encoding="utf-8")
    took_s = time.monotonic() - began
    what = "noticed" if not blind else f"NOT NOTICED by {', '.join(blind)}"
    print(f"{mutation.threat:5} {mutation.file}: {what} ({took_s:.1f} s)", flush=True)
    return not blind


def _run(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of the copy; return pytest's exit status and what it said."""
    # In its own process and before all installed packages: the copy is what is imported.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

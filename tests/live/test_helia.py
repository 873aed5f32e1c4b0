"""Helia, the IPFS in JavaScript, reads from the gateway of a real daemon: blocks one by one, and CARs.

Its packages are installed once, by npm, into a directory beside other caches; without node and npm the tests are
skipped. What was put on one daemon is read through the gateway of another, which does not have it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons

SCRIPTS = Path(__file__).parent / "helia"
INSTALL_LIMIT_S = 240
READ_LIMIT_S = 60

pytestmark = pytest.mark.xdist_group("helia")

Read = Callable[..., list[object]]


@pytest.fixture(scope="module")
def trio() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(3, "--copies", "1", "--gateway", "127.0.0.1:0")


@pytest.fixture(scope="module")
def read(trio: list[Daemon]) -> Read:
    """`read.mjs` at the gateway of one that has nothing of what is read."""
    packages = installed()

    def run(cid: str, *arguments: str) -> list[object]:
        far = next(each for each in trio if all(entry["cid"] != cid for entry in each.json("ls")))
        command = ["node", "read.mjs", f"http://{far.gateway}", cid, *arguments]
        done = subprocess.run(command, cwd=packages, capture_output=True, timeout=READ_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def installed() -> Path:
    """Return a directory with the scripts and the packages that they need; installs them where they are not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = (SCRIPTS / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "peerd-tests" / f"helia-{hashlib.sha256(wanted).hexdigest()[:16]}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("package.json", "read.mjs"):
            shutil.copyfile(SCRIPTS / name, directory / name)
        if not (directory / "installed").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
            done = subprocess.run(command, cwd=directory, capture_output=True, timeout=INSTALL_LIMIT_S, check=False)
            if done.returncode:
                pytest.skip(f"npm cannot install Helia here: {done.stderr.decode(errors='replace')[-300:]}")
            (directory / "installed").touch()
    return directory


def tree(root: Path) -> dict[str, str]:
    """Make a directory of some files; return the SHA-256 of each by its path."""
    (root / "sub" / "dëep").mkdir(parents=True)
    files = {"a.txt": b"hello", "empty": b"", "sub/big.bin": os.urandom(3 * 2**20 + 5), "sub/dëep/ü 1": b"x" * 1500}
    for name, data in files.items():
        (root / name).write_bytes(data)
    return {f"/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_helia_reads_a_directory_that_the_gateway_has_to_fetch(trio: list[Daemon], read: Read, tmp_path: Path) -> None:
    wanted = tree(tmp_path / "tree")
    cid = trio[0].ok("add", tmp_path / "tree").decode().strip()
    assert read(cid) == [{"path": path, "sha256": wanted[path]} for path in sorted(wanted)]


def test_helia_reads_a_sharded_directory(trio: list[Daemon], read: Read, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    names = [f"{number:05}-{'n' * 60}" for number in range(3000)]
    for name in names:
        (many / name).write_bytes(name.encode())
    cid = trio[0].ok("add", many).decode().strip()
    listed, one = read(cid, names[1234])
    assert isinstance(listed, list) and sorted(listed) == names
    assert one == {"path": names[1234], "sha256": hashlib.sha256(names[1234].encode()).hexdigest()}


def test_the_car_of_the_gateway_is_read_by_ipld_car(trio: list[Daemon], read: Read, tmp_path: Path) -> None:
    tree(tmp_path / "tree")
    cid = trio[0].ok("add", tmp_path / "tree").decode().strip()
    assert read(cid, "car") == [{"roots": [cid], "blocks": 11}]

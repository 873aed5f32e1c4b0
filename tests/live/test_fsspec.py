"""`peer://` for fsspec: its own abstract tests on a real daemon, and what they do not ask."""

import asyncio
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.daemons import Daemon, Daemons

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra `fsspec`)")
abstract = pytest.importorskip("fsspec.tests.abstract")

BIG = random.Random(2).randbytes(3_000_000)


@pytest.fixture(scope="module")
def alice() -> Iterator[Daemon]:
    with Daemons() as daemons:
        yield daemons.loopback(1)[0]


@pytest.fixture(scope="module")
def made(alice: Daemon) -> Iterator[Any]:
    made = fsspec.filesystem("peer", api=f"unix:{alice.socket}", skip_instance_cache=True)
    yield made
    fsspec.asyn.sync(made.loop, made.close)


@pytest.fixture
def fs(made: Any) -> Any:
    return made


class PeerFixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self, made: Any) -> Any:
        return made

    @pytest.fixture
    def fs_path(self) -> str:
        return "abstract"

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


def some_of(test: Any) -> Any:
    """A test with every ninth of its 32 cases, each a third of a second of CPU; `make fsspec` has all."""
    (mark,) = test.pytestmark
    names, cases = mark.args
    copy = types.FunctionType(test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__)
    return pytest.mark.parametrize(names, cases if os.environ.get("ABSTRACT_ALL") else cases[6::9])(copy)


class TestCopy(abstract.AbstractCopyTests, PeerFixtures):  # type: ignore[misc]
    test_copy_glob_edge_cases = some_of(abstract.AbstractCopyTests.test_copy_glob_edge_cases)


class TestGet(abstract.AbstractGetTests, PeerFixtures):  # type: ignore[misc]
    test_get_glob_edge_cases = some_of(abstract.AbstractGetTests.test_get_glob_edge_cases)


class TestPut(abstract.AbstractPutTests, PeerFixtures):  # type: ignore[misc]
    test_put_glob_edge_cases = some_of(abstract.AbstractPutTests.test_put_glob_edge_cases)


class TestOpen(abstract.AbstractOpenTests, PeerFixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, PeerFixtures):  # type: ignore[misc]
    pass


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, len(BIG)])
def test_what_is_written_is_read_whole_and_in_parts(fs: Any, size: int) -> None:
    data = BIG[:size]
    with fs.open("peer://files/some name.bin", "wb") as file:
        for at in range(0, size, 40_000):
            file.write(data[at : at + 40_000])
    assert fs.info("files/some name.bin")["size"] == size
    assert fs.cat_file("files/some name.bin") == data
    for start, end in ((0, 10), (5, None), (-10, None), (-10, -2), (0, 0), (size, size + 5), (None, -1), (7, 3)):
        assert fs.cat_file("files/some name.bin", start, end) == data[slice(start, end)], (start, end)
    with fs.open("files/some name.bin", "rb", block_size=50_000) as file:
        assert file.read(7) == data[:7]
        file.seek(max(0, size - 11))
        assert file.read() == data[max(0, size - 11) :]
        file.seek(size // 2)
        assert file.read(9) == data[size // 2 : size // 2 + 9]


def test_requests_that_are_the_first_together_share_their_connections(alice: Daemon) -> None:
    made = fsspec.filesystem("peer", api=f"unix:{alice.socket}", skip_instance_cache=True)

    async def both() -> list[Any]:
        return list(await asyncio.gather(made._client._connected(), made._client._connected()))

    first, second = fsspec.asyn.sync(made.loop, both)
    assert first is second
    fsspec.asyn.sync(made.loop, made.close)


def test_an_open_file_stays_what_it_was_though_its_key_is_written(fs: Any) -> None:
    fs.pipe_file("changing", BIG)
    with fs.open("changing", "rb", block_size=2**20, cache_type="none") as file:
        begin = file.read(1000)
        fs.pipe_file("changing", BIG[::-1])
        assert begin + file.read() == BIG
    assert fs.cat_file("changing") == BIG[::-1]


def test_keys_with_slashes_are_files_in_directories(fs: Any) -> None:
    for name in ("tree/a", "tree/b/c", "tree/b/d/e"):
        fs.pipe_file(name, name.encode())
    assert fs.ls("tree", detail=False) == ["tree/a", "tree/b"]
    assert [entry["type"] for entry in fs.ls("peer://tree/")] == ["file", "directory"]
    assert fs.find("tree") == ["tree/a", "tree/b/c", "tree/b/d/e"]
    assert fs.glob("tree/**/c") == ["tree/b/c"] and fs.glob("tree/*") == ["tree/a", "tree/b"]
    assert "tree" in fs.ls("", detail=False)
    assert fs.isdir("tree/b") and fs.isfile("tree/a") and not fs.exists("tree/x")
    assert fs.du("tree") == len("tree/atree/b/ctree/b/d/e")
    with pytest.raises(OSError, match="not empty"):
        fs.rm("tree/b")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("tree/b")
    fs.mv("tree/b", "tree/z", recursive=True)
    assert fs.find("tree") == ["tree/a", "tree/z/c", "tree/z/d/e"]
    fs.rm("tree", recursive=True)
    assert not fs.exists("tree")
    with pytest.raises(FileNotFoundError):
        fs.ls("tree")


def test_only_the_keys_that_may_be_meant_are_listed(alice: Daemon, fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("listed/a", "listed/b/c", "listed2", "other"):
        fs.pipe_file(key, b"x")
    assert [each["name"] for each in alice.curl("/v1/ls?prefix=listed/").json()] == ["listed/a", "listed/b/c"]
    asked = []
    json = fs._client.json

    async def noted(path: str, query: dict[str, str] | None = None) -> Any:
        asked.append((path, query))
        return await json(path, query)

    monkeypatch.setattr(fs._client, "json", noted)
    fs.invalidate_cache()
    assert fs.ls("listed", detail=False) == ["listed/a", "listed/b"]
    assert fs.isdir("listed/b") and fs.isfile("listed/a")
    assert asked and all(query and query["prefix"].startswith("listed") for _, query in asked)


def test_a_directory_that_was_stored_whole_is_read_by_path_and_by_content_id(
    alice: Daemon, fs: Any, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "one.txt").write_text("one")
    (source / "sub" / "big.bin").write_bytes(BIG)
    (source / "link").symlink_to("one.txt")
    stored = alice.json("put", "whole/dir", source)
    for root in ("whole/dir", stored["cid"]):
        assert fs.isdir(root)
        assert {entry["name"]: entry["type"] for entry in fs.ls(root)} == {
            f"{root}/link": "link",
            f"{root}/one.txt": "file",
            f"{root}/sub": "directory",
        }
        assert fs.cat_file(f"{root}/one.txt") == b"one"
        assert fs.cat_file(f"{root}/sub/big.bin", 10, 20) == BIG[10:20]
        with fs.open(f"{root}/sub/big.bin") as file:
            assert file.read() == BIG
        assert f"{root}/sub/big.bin" in fs.find(root)
        with pytest.raises(FileNotFoundError):
            fs.cat_file(f"{root}/sub/none")
        with pytest.raises(IsADirectoryError):
            fs.open(root)
        with pytest.raises(IsADirectoryError):
            fs.cat_file(f"{root}/sub")
    with pytest.raises(PermissionError):
        fs.rm("whole/dir/one.txt")
    with pytest.raises(io.UnsupportedOperation):
        fs.cat_file("whole/dir/link")
    with pytest.warns(UserWarning, match="whole/dir/link"):
        fs.get("whole/dir", str(tmp_path / "back"), recursive=True)
    assert (tmp_path / "back" / "sub" / "big.bin").read_bytes() == BIG
    fs.rm("whole/dir", recursive=True)
    assert not fs.exists("whole/dir")


def test_exclusive_appending_and_transactions(fs: Any) -> None:
    fs.pipe_file("modes", b"first")
    with pytest.raises(FileExistsError):
        fs.open("modes", "xb")
    with fs.open("modes", "ab") as file:
        file.write(b" and more")
    assert fs.cat_file("modes") == b"first and more"
    with fs.open("modes/new", "ab") as file:
        file.write(b"new")
    assert fs.cat_file("modes/new") == b"new"
    file = fs.open("modes", "ab")
    file.write(b" but")
    file.flush(force=False)
    fs.pipe_file("modes/new", b"other")
    file.close()
    late = fs.open("modes", "ab", block_size=1)
    late.write(b"!")  # what is there was read
    fs.pipe_file("modes", b"somebody else")
    with pytest.raises(FileExistsError):
        late.close()
    assert fs.cat_file("modes") == b"somebody else"
    with fs.transaction:
        with fs.open("modes/in", "wb") as file:
            file.write(b"in")
        assert not fs.exists("modes/in")
    assert fs.cat_file("modes/in") == b"in"
    with pytest.raises(ZeroDivisionError), fs.transaction:
        with fs.open("modes/out", "wb") as file:
            file.write(b"out")
        raise ZeroDivisionError
    assert not fs.exists("modes/out")


def test_a_fetched_file_stands_under_its_name_only_when_it_is_whole(fs: Any, tmp_path: Path) -> None:
    fs.pipe_file("whole", BIG)
    target = tmp_path / "deep" / "target"
    fs.get_file("whole", str(target))
    assert target.read_bytes() == BIG and [path.name for path in target.parent.iterdir()] == ["target"]
    with pytest.raises(FileNotFoundError):
        fs.get_file("no/such", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_key_that_leads_elsewhere_is_not_fetched_with_those_beside_it(alice: Daemon, fs: Any, tmp_path: Path) -> None:
    evil = ["evil/../../outside", "evil//outside", "evil/./x", "evil/sub/..", "../outside", "/outside"]
    for key in (*evil, "evil/good", "evil/sub/good"):
        alice.ok("put", key, "--value", key)
    assert fs.find("evil") == ["evil/good", "evil/sub/good"]
    (tmp_path / "a" / "b").mkdir(parents=True)
    fs.get("evil", str(tmp_path / "a" / "b"), recursive=True)
    found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == ["a/b/good", "a/b/sub/good"]
    assert fs.cat_file("evil/../../outside") == b"evil/../../outside"  # asked for by its name it is a key
    fs.rm("evil", recursive=True)
    assert not fs.exists("evil")


def test_failures_are_those_of_files(alice: Daemon, fs: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fs.open("no/such/key")
    with pytest.raises(FileNotFoundError):
        fs.rm("no/such/key")
    for key in ("x" * 256, "@lock/x", "sha256:x"):
        with pytest.raises(ValueError, match="key"):
            fs.pipe_file(key, b"")
        assert not fs.exists(key)
    wrong = fsspec.filesystem("peer", api=alice.tcp, token="wrong", skip_instance_cache=True)
    with pytest.raises(PermissionError):
        wrong.cat_file("key")
    fsspec.asyn.sync(wrong.loop, wrong.close)
    nobody = fsspec.filesystem("peer", api=f"unix:{tmp_path}/none", skip_instance_cache=True)
    with pytest.raises(ConnectionError):
        nobody.ls("")
    with pytest.raises(RuntimeError, match="mode"):
        fs.open("key", "r+b")


def test_it_is_pickled_and_works_over_tcp_with_the_token(alice: Daemon) -> None:
    made = fsspec.filesystem("peer", api=alice.tcp, token=alice.token, skip_instance_cache=True)
    made.pipe_file("pickled", b"here")
    again = pickle.loads(pickle.dumps(made))
    assert again.cat_file("pickled") == b"here"
    assert made.ukey("pickled") == again.ukey("pickled") != (again.pipe_file("pickled", b"x"), again.ukey("pickled"))[1]
    for each in (made, again):
        fsspec.asyn.sync(each.loop, each.close)


async def test_it_is_awaited_in_a_loop_of_ones_own(alice: Daemon) -> None:
    made = fsspec.filesystem("peer", api=f"unix:{alice.socket}", asynchronous=True, skip_instance_cache=True)
    await made._pipe_file("awaited", BIG)
    assert await made._cat_file("awaited", 5, 9) == BIG[5:9]
    assert await made._exists("awaited")
    await made.close()


def test_nothing_of_the_daemon_is_imported(alice: Daemon) -> None:
    code = (
        "import sys, fsspec; fs = fsspec.filesystem('peer', api=sys.argv[1]); fs.pipe_file('imports', b'x');"
        "assert fs.cat('peer://imports') == b'x';"
        "print([name for name in sys.modules if name == 'peerd' or name.startswith('peerd.')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"unix:{alice.socket}"], capture_output=True, text=True, check=True, cwd=alice.home
    )
    assert ran.stdout.strip() == "[]" and ran.stderr == ""


def _example() -> str:
    """The code of the how-to, as it stands there."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "pandas.md").read_text()
    return page.split("```python\n")[1].split("```")[0]


def test_the_example_of_pandas_does_what_it_says(alice: Daemon, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed (`make test` does)")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (`make test` does)")
    (tmp_path / "runs").mkdir()
    for number in range(2):
        (tmp_path / "runs" / f"{number}.csv").write_text(f"run,loss\n{number},0.{number}\n")
    alice.ok("put", "runs", tmp_path / "runs")
    ran = subprocess.run(
        [sys.executable, "-c", _example()],
        check=False,
        capture_output=True,
        text=True,
        env={**alice.env, "PEER_API": f"unix:{alice.socket}"},
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "2 rows, best loss 0.0"
    assert alice.json("stat", "results/table.parquet")["size"] > 0


def test_archives_in_keys_are_opened_through_it(fs: Any, tmp_path: Path) -> None:
    (tmp_path / "inside.txt").write_text("deep")
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        tar.add(tmp_path / "inside.txt", "inside.txt")
    fs.put_file(str(tmp_path / "archive.tar"), "archive.tar")
    with fs.open("archive.tar") as file:
        inner = fsspec.filesystem("tar", fo=file, skip_instance_cache=True)
        assert inner.cat_file("inside.txt") == b"deep"

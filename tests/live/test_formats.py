"""What others' tools write and read, by real daemons and `peer`: CAR files, plain digests, the gateway's bounds."""

import hashlib
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons

DATA = random.Random(11).randbytes(5 * 2**20 + 7)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MISSING = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


@pytest.fixture(scope="module")
def trio() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(3, "--gateway", "127.0.0.1:0")


def test_a_file_is_exported_imported_and_got_by_its_digest(trio: list[Daemon], tmp_path: Path) -> None:
    alice, bob, carol = trio
    (tmp_path / "file").write_bytes(DATA)
    stored = alice.json("put", "big", tmp_path / "file")
    assert f"sha256:{stored['sha256']}" == DIGEST
    told = bob.json("export", "big", tmp_path / "a.car")
    assert (told["cid"], told["file_bytes"]) == (stored["cid"], (tmp_path / "a.car").stat().st_size)
    alice.ok("rm", "big")
    answer = carol.json("import", tmp_path / "a.car")
    assert [root["cid"] for root in answer["roots"]] == [stored["cid"]]
    bob.ok("get", DIGEST, "-o", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == DATA
    assert bob.ok("cat", DIGEST, "--offset", "7", "--length", "9") == DATA[7:16]
    assert bob.json("stat", DIGEST)["cid"] == stored["cid"]
    bob.peer("get", f"sha256:{'0' * 64}", "-o", tmp_path / "none").require_one_line(3)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("where", ["/v1/kv/", "/v1/content/"])
def test_a_digest_stands_where_a_content_id_does(trio: list[Daemon], where: str) -> None:
    alice = trio[0]
    stored = alice.json("add", "-", stdin=DATA)
    asked = urllib.request.Request(
        f"http://{alice.tcp}{where}{DIGEST}", headers={"Authorization": f"Bearer {alice.token}", "Range": "bytes=7-15"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert (answer.status, answer.read(), answer.headers["ETag"]) == (206, DATA[7:16], f'"{stored["cid"]}"')


def test_a_malformed_car_is_exit_8_and_keeps_nothing(trio: list[Daemon], tmp_path: Path) -> None:
    (tmp_path / "cut.car").write_bytes(
        trio[0].ok("export", trio[0].ok("add", "-", stdin=DATA * 2).decode().strip(), "-")[:-1]
    )
    before = trio[1].status()["storage"]["used_bytes"]
    trio[1].peer("import", tmp_path / "cut.car").require_one_line(8)
    trio[1].peer("import", "-", stdin=DATA).require_one_line(8)
    assert trio[1].status()["storage"]["used_bytes"] < before + len(DATA)


def test_a_gateway_miss_is_told_within_30_s(trio: list[Daemon]) -> None:
    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://{trio[2].gateway}/ipfs/{MISSING}", timeout=40)
    caught.value.close()
    assert caught.value.code in (404, 504)
    assert time.monotonic() - began < 30

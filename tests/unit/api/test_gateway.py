"""The IPFS gateway over two real peers: what one holds is read from the other, as the specifications have it."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from peerd.api.gateway_request import read_request, span_of
from peerd.api.gateway_server import AT_A_TIME_MAX, GatewayServer
from peerd.api.media_types import media_type
from peerd.api.server import ApiServer, Places
from peerd.config import HostPort, Settings
from peerd.content.block import Block, raw_block
from peerd.content.build import DirectoryBuilder
from peerd.content.car import CarReader
from peerd.content.cid import Cid
from peerd.content.entry_lookup import EntryLookup
from peerd.content.unixfs import decode
from peerd.daemon import open_peer
from peerd.errors import UsageError
from peerd.ids import distance, node_id
from peerd.node.peer import Peer
from peerd.node.results import GetOptions, PutOptions
from tests.unit.content.vectors import directory, file, pattern

from .wire import Answer, Client

TOKEN = "a-token-of-the-test"
HTML = b"<!doctype html><script>fetch('/v1/status')</script>"
FILES = {
    "a.txt": b"hello",
    "big.bin": pattern(3 * 2**20 + 11),
    "site/index.html": HTML,
    "site/style.css": b"p {}",
    "ä b/ü.json": b"{}",
    "notes": b"plain text, no ending",
    "page": HTML,
    "image": b"\x89PNG\r\n\x1a\n....",
}
BIG = FILES["big.bin"]


@dataclass
class Gates:
    alice: Peer
    bob: Peer
    root: str
    gateway: Client
    """Of bob, who has nothing."""
    server: GatewayServer
    api: Client


def settings(path: Path, other: Peer | None = None) -> Settings:
    addresses = () if other is None else (HostPort(*other.addresses[0]),)
    return Settings(data=path, listen=HostPort("127.0.0.1", 0), mdns=False, bootstrap=addresses, copies=1)


def tar(files: dict[str, bytes]) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a.txt"
        made.addfile(link)
    return into.getvalue()


def near(alice: Peer, bob: Peer) -> dict[str, bytes]:
    """Return a file with which the root is nearer to alice, so that the one promised copy is hers."""
    files = {name: file(data) for name, data in FILES.items()}
    for number in count():
        extra = {"extra": b"%d" % number}
        builder = DirectoryBuilder()
        builder.add_symlink("link", "a.txt")
        for name, (_, node) in (files | {"extra": file(extra["extra"])}).items():
            builder.add(name, node)
        digest = builder.finish()[1].cid.digest
        hers, his = (distance(node_id(each.network_id, each.peer_id), digest) for each in (alice, bob))
        if hers < his:
            return extra
    raise AssertionError


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    async with (
        open_peer(settings(tmp_path), memory=True) as alice,
        open_peer(settings(tmp_path, alice), memory=True) as bob,
    ):
        async with asyncio.timeout(20):
            while alice.lonely or bob.lonely:
                await asyncio.sleep(0.02)
        stored = await alice.add(once(tar(FILES | near(alice, bob))), form="tar", options=PutOptions(require=1))
        assert (await bob.status()).blobs == 0
        gateway = GatewayServer(bob, ["127.0.0.1:0"], connections_max=8)
        api = ApiServer(bob, ["127.0.0.1:0"], TOKEN, places=Places(data="", token=""), grace_s=0.1)
        addresses = [*await gateway.start(), *await api.start()]
        yield Gates(alice, bob, stored.cid, Client(addresses[0]), gateway, Client(addresses[1], TOKEN))
        await gateway.stop()
        await api.stop()


def blocks(answer: Answer) -> tuple[list[Cid], list[Block]]:
    reader = CarReader()
    found = reader.feed(answer.body)
    return reader.finish(), found


async def test_files_by_path_with_types_ranges_and_tags(gates: Gates) -> None:
    types = {
        "a.txt": "text/plain; charset=utf-8",
        "big.bin": "application/octet-stream",
        "site/index.html": "text/html; charset=utf-8",
        "%C3%A4%20b/%C3%BC.json": "application/json",
        "notes": "text/plain; charset=utf-8",
        "page": "text/plain; charset=utf-8",
        "image": "image/png",
    }
    for (path, kind), (_, data) in zip(
        types.items(), ((n, d) for n, d in FILES.items() if n != "site/style.css"), strict=True
    ):
        answer = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/{path}")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, kind, data), path
        assert answer.headers["x-ipfs-path"] == f"/ipfs/{gates.root}/{path}"
        assert answer.headers["x-ipfs-roots"].split(",")[0] == gates.root
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = await gates.gateway.ask("HEAD", f"/ipfs/{gates.root}/{path}")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    part = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/big.bin", headers={"Range": "bytes=1048570-2097160"})
    assert (part.status, part.body) == (206, BIG[1048570:2097161])
    assert part.headers["content-range"] == f"bytes 1048570-2097160/{len(BIG)}"
    beyond = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/a.txt", headers={"Range": "bytes=9-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */5")
    tag = part.headers["etag"]
    assert tag.strip('"') == part.headers["x-ipfs-roots"].split(",")[-1]
    same = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/big.bin", headers={"If-None-Match": f'"x", {tag}'})
    assert (same.status, same.body) == (304, b"")


async def test_blocks_one_by_one_as_helia_asks_for_them(gates: Gates) -> None:
    waiting, seen = [gates.root], 0
    while waiting:
        cid = waiting.pop()
        answer = await gates.gateway.ask("GET", f"/ipfs/{cid}?format=raw")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/vnd.ipld.raw"), answer
        assert answer.headers["etag"] == f'"{cid}.raw"'
        assert answer.headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
        waiting += [link.cid.text for link in decode(Cid.parse(cid), answer.body).links]
        seen += 1
    assert seen > len(FILES)
    accepted = await gates.gateway.ask("GET", f"/ipfs/{gates.root}", headers={"Accept": "application/vnd.ipld.raw"})
    assert accepted.headers["content-type"] == "application/vnd.ipld.raw"


async def test_cars_of_all_of_an_entity_of_a_block_and_of_bytes(gates: Gates) -> None:
    car = "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    whole = await gates.gateway.ask("GET", f"/ipfs/{gates.root}?format=car")
    assert (whole.status, whole.headers["content-type"]) == (200, car)
    assert whole.headers["etag"].startswith(f'W/"{gates.root}.car')
    roots, found = blocks(whole)
    assert [root.text for root in roots] == [gates.root]
    assert sum(len(block.data) for block in found if block.cid.codec == 0x55) >= sum(map(len, FILES.values())) - len(
        HTML
    )
    exported = b"".join(
        [piece async for piece in gates.bob.formats.car(await gates.bob.open(gates.root, GetOptions()))]
    )
    assert whole.body == exported
    # A directory has no bytes to choose from: all of it comes.
    bytes_of_all = await gates.gateway.ask("GET", f"/ipfs/{gates.root}?format=car&dag-scope=all&entity-bytes=0:5")
    assert bytes_of_all.body == exported
    counts = {}
    for query in ("dag-scope=block", "dag-scope=entity", "entity-bytes=0:5", "entity-bytes=-12:*", "dag-scope=all"):
        answer = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/big.bin?format=car&{query}")
        assert blocks(answer)[0] == roots
        counts[query] = len(blocks(answer)[1])
    assert counts == {
        "dag-scope=block": 2,
        "dag-scope=entity": 6,
        "entity-bytes=0:5": 3,
        "entity-bytes=-12:*": 4,
        "dag-scope=all": 6,
    }
    only = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/site?format=car&dag-scope=entity")
    assert len(blocks(only)[1]) == 2
    accept = {"Accept": "application/vnd.ipld.car; version=1; order=dfs; dups=y, */*"}
    assert (await gates.gateway.ask("GET", f"/ipfs/{gates.root}/a.txt", headers=accept)).headers["content-type"] == car
    same = await gates.gateway.ask(
        "GET", f"/ipfs/{gates.root}?format=car", headers={"If-None-Match": whole.headers["etag"]}
    )
    assert same.status == 304


async def test_a_directory_is_its_index_or_nothing(gates: Gates) -> None:
    moved = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/site?x=1")
    assert (moved.status, moved.headers["location"]) == (301, f"/ipfs/{gates.root}/site/?x=1")
    page = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/site/")
    assert (page.status, page.body, page.headers["content-type"]) == (200, HTML, "text/html; charset=utf-8")
    for path in ("", "/", "/nothing", "/a.txt/below", "/link/x"):
        assert (await gates.gateway.ask("GET", f"/ipfs/{gates.root}{path}")).code == "not_found", path
    link = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/link")
    assert (link.headers["content-type"], link.body) == ("inode/symlink", b"a.txt")
    part = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/link", headers={"Range": "bytes=2-3"})
    assert (part.status, part.body) == (206, b"tx")


async def test_what_nobody_has_is_404_or_504_soon(gates: Gates) -> None:
    missing = raw_block(b"nobody has this").cid.text
    for query in ("", "?format=raw", "?format=car", "/a/b"):
        async with asyncio.timeout(29):
            answer = await gates.gateway.ask("GET", f"/ipfs/{missing}{query}")
        assert answer.code in ("not_found", "timeout"), query
    cached = {"Cache-Control": "only-if-cached"}
    assert (await gates.gateway.ask("GET", f"/ipfs/{missing}", headers=cached)).status == 412


async def test_what_was_read_whole_is_here_from_then_on(gates: Gates) -> None:
    cached = {"Cache-Control": "only-if-cached"}
    target = f"/ipfs/{gates.root}?format=car"
    assert (await gates.gateway.ask("GET", target, headers=cached)).status == 412
    assert (await gates.gateway.ask("GET", target)).status == 200
    assert (await gates.gateway.ask("GET", target, headers=cached)).status == 200
    assert (await gates.bob.open(gates.root, GetOptions())).info.source == "cache"


async def test_a_block_that_was_met_below_a_root_is_found_by_its_own_id(gates: Gates) -> None:
    cid = (await gates.gateway.ask("HEAD", f"/ipfs/{gates.root}/big.bin")).headers["etag"].strip('"')
    part = await gates.gateway.ask("GET", f"/ipfs/{cid}", headers={"Range": "bytes=-11"})
    assert (part.status, part.body) == (206, BIG[-11:])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ipfs/nocid", 400),
        ("/ipfs/", 400),
        ("/ipfs/bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", 400),
        ("/ipfs/{root}?format=tar", 406),
        ("/ipfs/{root}?format=car&car-version=2", 406),
        ("/ipfs/{root}?format=car&dag-scope=some", 400),
        ("/ipfs/{root}?format=car&entity-bytes=5:1", 400),
        ("/ipfs/{root}?format=car&entity-bytes=x", 400),
        ("/ipfs/{root}/../a.txt", 400),
        ("/ipfs/{root}/%ff", 400),
        ("/ipfs/" + "{root}" + "/a" * 200, 400),
        ("/ipns/x", 404),
        ("/v1/status", 404),
        ("/metrics", 404),
    ],
)
async def test_what_is_asked_wrongly_is_told(gates: Gates, target: str, status: int) -> None:
    answer = await gates.gateway.ask("GET", target.format(root=gates.root))
    assert (answer.status, answer.code) == (status, "usage")


async def test_the_gateway_is_read_only_for_all_origins_and_rules_over_none(gates: Gates) -> None:
    path = f"/ipfs/{gates.root}/a.txt"
    page = {"Origin": "https://elsewhere.example", "Host": "gateway.example", "Sec-Fetch-Site": "cross-site"}
    answer = await gates.gateway.ask("GET", path, headers=page)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    preflight = await gates.gateway.ask("OPTIONS", path, headers=page)
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, HEAD, OPTIONS")
    for method in ("PUT", "POST", "DELETE"):
        assert (await gates.gateway.ask(method, path, b"x")).status == 405
    assert (await gates.gateway.ask("GET", path, headers={"Service-Worker": "script"})).status == 400


async def test_on_the_api_content_needs_the_token_and_is_sandboxed(gates: Gates) -> None:
    path = f"/ipfs/{gates.root}/site/index.html"
    assert (await Client(gates.api.address).ask("GET", path)).status == 401
    answer = await gates.api.ask("GET", path)
    assert (answer.status, answer.body) == (200, HTML)
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "allow-scripts" not in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"].startswith("private")


async def test_an_identity_is_its_own_content(gates: Gates) -> None:
    empty = await gates.gateway.ask("GET", "/ipfs/bafkqaaa?format=raw")
    assert (empty.status, empty.body, empty.headers["content-type"]) == (200, b"", "application/vnd.ipld.raw")
    hello = await gates.gateway.ask("GET", "/ipfs/bafkqabtimvwgy3yk?format=car")
    assert (hello.status, hello.body[-6:]) == (200, b"hello\n")
    assert (await gates.gateway.ask("GET", "/ipfs/bafkqabtimvwgy3yk?format=raw")).body == b"hello\n"


async def test_an_identity_is_a_file_like_any_other(gates: Gates) -> None:
    hello = "bafkqablimvwgy3y"
    answer = await gates.gateway.ask("GET", f"/ipfs/{hello}", headers={"Range": "bytes=1-2"})
    assert (answer.status, answer.body, answer.headers["etag"]) == (206, b"el", f'"{hello}"')
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-disposition" not in answer.headers
    saved = await gates.gateway.ask("GET", f"/ipfs/{hello}?filename=a.csv&download=true")
    assert saved.headers["content-type"] == "text/csv; charset=utf-8"
    assert saved.headers["content-disposition"].startswith('attachment; filename="a.csv"')
    raw = await gates.gateway.ask("GET", f"/ipfs/{hello}?format=raw")
    assert (raw.headers["content-type"], raw.headers["etag"]) == ("application/vnd.ipld.raw", f'"{hello}.raw"')


async def test_one_address_asks_for_so_much_at_a_time(gates: Gates) -> None:
    server = gates.server
    server._at_a_time["127.0.0.1"] = AT_A_TIME_MAX
    busy = await gates.gateway.ask("GET", f"/ipfs/{gates.root}/a.txt")
    assert (busy.status, busy.code) == (429, "usage")
    server._at_a_time["127.0.0.1"] = 0
    assert (await gates.gateway.ask("GET", f"/ipfs/{gates.root}/a.txt")).status == 200
    held = [await gates.gateway.connect() for _ in range(2)]
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await gates.gateway.ask("GET", f"/ipfs/{gates.root}/a.txt")
    for _, writer in held:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("entity", "size", "span"),
    [
        ((0, None), 10, (0, 10)),
        ((2, 4), 10, (2, 3)),
        ((-3, None), 10, (7, 3)),
        ((-30, -9), 10, (0, 2)),
        ((5, 100), 10, (5, 5)),
        ((50, 100), 10, (10, 0)),
        ((0, -1), 10, (0, 10)),
        ((0, 0), 0, (0, 0)),
    ],
)
def test_bytes_of_an_entity(entity: tuple[int, int | None], size: int, span: tuple[int, int]) -> None:
    assert span_of(entity, size) == span


def test_the_form_is_that_of_the_parameter_else_of_what_is_accepted() -> None:
    root = raw_block(b"").cid.text
    car = "application/vnd.ipld.car;version=1"
    assert read_request(root, {}, None).form == "file"
    assert read_request(root, {"format": "raw"}, car).form == "raw"
    assert read_request(root, {}, f"text/html, {car}").form == "car"
    assert read_request(root, {}, "text/html,*/*;q=0.8").form == "file"
    with pytest.raises(UsageError):
        read_request(root, {}, "application/vnd.ipld.dag-json")


def test_what_looks_like_a_page_is_none_unless_it_says_so() -> None:
    assert media_type("", HTML) == "text/plain; charset=utf-8"
    assert media_type("x.unknown", b"\0\1") == "application/octet-stream"
    assert media_type("", "ü".encode()[:1]) == "text/plain; charset=utf-8"
    assert media_type("X.PNG", b"") == "image/png"


def test_an_entry_of_a_sharded_directory_is_found_by_the_shards_that_lead_there() -> None:
    made, node = directory([[f"{number:06}", 1] for number in range(6000)])
    known = {block.cid: block.data for block in made}
    for name, there in (("000000", True), ("005999", True), ("006000", False), ("nothing", False)):
        lookup, steps = EntryLookup(node.cid, name), 0
        while not lookup.done:
            lookup.give(known[lookup.next])
            steps += 1
        assert (lookup.found is not None, steps < 5) == (there, True)

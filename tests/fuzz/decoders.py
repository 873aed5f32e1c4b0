"""Every decoder there is, with what it may raise and sound bytes to begin with.

`tests/unit/test_fuzz_registry.py` looks through the code for decoders and fails where one is missing here: who adds a
statement, a frame or a list of the wire adds a line. What it may raise is its own error and nothing else.
"""

import ipaddress
import random
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from zeroconf import DNSIncoming

from cli import keys as cli_keys
from cli.failure import Failure
from cli.httpwire import Wire, WireFailure
from cli.tarin import TarReader
from peerd.api import conditions, guard, params, target
from peerd.api.gateway_request import read_request
from peerd.config import address, secret, units
from peerd.config.load import load
from peerd.content import cid, dagpb, hamt, names, protobuf, unixfs
from peerd.content.car import CarReader
from peerd.content.dag_walk import DagWalk
from peerd.content.directory_reader import DirectoryReader
from peerd.content.entry_lookup import EntryLookup
from peerd.content.file_reader import FileReader
from peerd.errors import IntegrityError, PeerdError, WireError
from peerd.ids import find_peer_id, parse_peer_id
from peerd.io import datadir, sealed_identity, tls
from peerd.io.interfaces import Interface
from peerd.io.mdns_hints import read_hint
from peerd.kad import contact
from peerd.node import claims as claim_rows
from peerd.node import entry_names, locking
from peerd.node.ingest import _TarReader
from peerd.records import alias, attestation, claim, entry, floor, life, notice, provider, receipt, record, revocation
from peerd.records.statement import Verifier
from peerd.swarm import ranges
from peerd.swarm.itemset import ItemSet
from peerd.trust import evidence, register
from peerd.wire import envelope, frames, messages, reconcile
from peerd.wire.handshake import Initiator, Responder
from tests.fuzz import samples
from tests.hostile.mdns import Attacks
from tests.vectors.cast import ALICE_ADDRESS, NOW, OPEN, Stream, identity

ALICE, BOB = identity("alice"), identity("bob")
LAN = Interface("lan", 2, (ipaddress.ip_interface("192.168.1.5/24"),), up=True)
DIGEST = "0123456789abcdef"
TEXTS = (b"a key", "größer/⛵".encode(), b"a/../b", b"sha256:00", b"x" * 255)


@dataclass(frozen=True)
class Decoder:
    """One decoder: what it is called with, what it may raise, and sound bytes. `covers` names it in the code."""

    name: str
    decode: Callable[[bytes], object]
    samples: tuple[bytes, ...]
    covers: tuple[str, ...]
    errors: tuple[type[Exception], ...] = (WireError,)
    packed: bool = False
    """MessagePack: changed by its fields too."""
    signed: bool = False
    """A body and 64 bytes of signature: signed anew after it was changed, so that all of it is looked at."""
    cost: int = field(default=1)
    """How much rarer than the others it is tried: each try is so much dearer."""


def all_decoders() -> list[Decoder]:
    """Every decoder."""
    makers = (_datagrams, _handshakes, _messages, _frames, _reconciliation, _statements, _rows, _blocks)
    return [each for make in (*makers, _names, _mdns, _http, _tars, _files, _command_line) for each in make()]


def _text(decode: Callable[[str], object]) -> Callable[[bytes], object]:
    """A decoder of text, as it comes from sockets and arguments: bytes that are no UTF-8 are surrogates."""
    return lambda raw: decode(raw.decode("utf-8", "surrogateescape"))


def _datagrams() -> Iterable[Decoder]:
    for kind, parse in (
        ("hello", envelope.parse_hello),
        ("challenge", envelope.parse_challenge),
        ("finish", envelope.parse_finish),
        ("accept", envelope.parse_accept),
    ):
        yield Decoder(
            kind, parse, (*samples.datagrams(kind), *samples.rejected(kind)), (f"wire.envelope:parse_{kind}",)
        )
    whole = (*samples.datagrams(), *samples.rejected("layout", "sealed"))
    yield Decoder("kind of a datagram", envelope.kind_of, whole, ("wire.envelope:kind_of",))


def _handshakes() -> Iterable[Decoder]:
    """The steps of one handshake, each with those before it done: their chance is written down, so all fit together."""

    def begun() -> tuple[Initiator, Responder]:
        return Initiator(ALICE, Stream("alice")), Responder(BOB, Stream("bob"))

    def challenged() -> tuple[Initiator, Responder, bytes]:
        asker, responder = begun()
        _, challenge = responder.on_hello(asker.hello_bytes(), ALICE_ADDRESS, NOW)
        return asker, responder, challenge

    def on_hello(raw: bytes) -> object:
        return begun()[1].on_hello(raw, ALICE_ADDRESS, NOW)

    def on_challenge(raw: bytes) -> bytes:
        return begun()[0].on_challenge(envelope.parse_challenge(raw))

    def on_finish(raw: bytes) -> bytes:
        return begun()[1].on_finish(raw, ALICE_ADDRESS, NOW, first=b"x")[1]

    def on_accept(raw: bytes) -> object:
        asker, _, challenge = challenged()
        asker.on_challenge(envelope.parse_challenge(challenge))
        return asker.on_accept(envelope.parse_accept(raw))

    hello, challenge = begun()[0].hello_bytes(), challenged()[2]
    finish = on_challenge(challenge)
    steps: tuple[tuple[str, Callable[[bytes], object], bytes, int], ...] = (
        ("hello", on_hello, hello, 5),
        ("challenge", on_challenge, challenge, 30),
        ("finish", on_finish, finish, 30),
        ("accept", on_accept, on_finish(finish), 60),
    )
    for step, decode, sample, cost in steps:
        yield Decoder(f"{step} in a handshake", decode, (sample,), (), cost=cost)


def _messages() -> Iterable[Decoder]:
    def whole(raw: bytes) -> object:
        message = messages.decode(raw)
        if isinstance(message, messages.Prove):
            message.split()
        for name, unpack in (("contacts", _contacts), ("floors", floor.unpack_floors), ("scope", ranges.unpack_scope)):
            if isinstance(packed := getattr(message, name, None), bytes):
                unpack(packed)
        return message

    some = (*samples.messages(), *samples.rejected("message"))
    yield Decoder("message", whole, some, ("wire.messages:_codec", "wire.messages:decode"), packed=True)
    yield Decoder(
        "contacts", _contacts, (*samples.contacts(), *samples.rejected("contacts")), ("kad.contact:unpack_contacts",)
    )
    floors = floor.pack_floors([floor.PackedFloor(cast("Any", bytes(32)), (7, bytes(32), bytes(8)), 60)] * 3)
    yield Decoder("floors", floor.unpack_floors, (floors,), ("records.floor:unpack_floors",))
    version = floor.pack_version((7, bytes(32), bytes(8)))
    yield Decoder("version of a floor", floor.unpack_version, (version,), ("records.floor:unpack_version",))
    peers = register.pack_peers([ALICE.peer, BOB.peer])
    yield Decoder("peers of a register", register.unpack_peers, (peers,), ("trust.register:unpack_peers",))
    yield Decoder("past of a register", register.unpack_past, (bytes(12),), ("trust.register:unpack_past",))


def _contacts(raw: bytes) -> object:
    return contact.unpack_contacts(raw, 20)


def _frames() -> Iterable[Decoder]:
    def header(raw: bytes) -> object:
        return frames.unpack_header(raw[: frames.HEADER_BYTES].ljust(frames.HEADER_BYTES, b"\0"))

    some = (*samples.frame_headers(), *samples.rejected("frame_header"))
    yield Decoder("header of a frame", header, some, ("wire.frames:unpack_header",))
    for name, codec, kind in (
        ("hold", frames.hold_codec, frames.HOLD),
        ("history", frames.history_codec, frames.HISTORY),
        ("audited", frames.audited_codec, frames.AUDITED),
        ("shown", frames.shown_codec, frames.SHOWN),
        ("revoked", frames.revoked_codec, frames.REVOKED),
    ):
        covers = (f"wire.frames:{name}_codec",)
        some = (*samples.payloads(kind), *samples.rejected(name))
        yield Decoder(f"frame {name}", codec.decode_canonical, some, covers, packed=True)
    cids = (*samples.payloads(frames.WANT), *samples.rejected("wants"))
    yield Decoder("cids of a frame", frames.split_cids, cids, ("wire.frames:split_cids",))
    proves, shows = samples.payloads(frames.PROVE), samples.payloads(frames.EVIDENCE)
    yield Decoder("what to prove", frames.split_prove, proves, ("wire.frames:split_prove",))
    yield Decoder("names of evidence", frames.split_digests, shows, ("wire.frames:split_digests",))
    joined = samples.payloads(frames.JOINED)
    yield Decoder("who shares a root", frames.split_joined, joined, ("wire.frames:split_joined",))
    yield Decoder("keys of a frame", frames.split_keys, samples.payloads(frames.AUDIT), ("wire.frames:split_keys",))


def _reconciliation() -> Iterable[Decoder]:
    items = ItemSet()
    for number in range(200):
        items.put(number.to_bytes(2, "big") * 16, reconcile.mark_of_value(number, bytes(32)))

    def answered(raw: bytes) -> object:
        return list(ranges.answer(items, reconcile.ranges_codec.decode_canonical(raw)))

    def compared(raw: bytes) -> object:
        comparing = ranges.Comparing(items, [(b"", ranges.END)])
        comparing.next()
        comparing.receive(reconcile.ranges_codec.decode_canonical(raw))
        return comparing.next()

    asked = (*samples.payloads(frames.RECONCILE), *samples.payloads(frames.RANGES))
    covers = ("wire.reconcile:ranges_codec", "swarm.ranges:answer")
    yield Decoder("ranges asked", answered, asked, covers, packed=True, cost=3)
    yield Decoder("ranges answered", compared, asked, ("swarm.ranges:Comparing",), packed=True, cost=10)
    entries = (*samples.payloads(frames.ENTRIES), *samples.payloads(frames.GIVE))
    yield Decoder(
        "entries", reconcile.entries_codec.decode_canonical, entries, ("wire.reconcile:entries_codec",), packed=True
    )
    offered = samples.payloads(frames.OFFER)
    told = (b"".join(items.items(b"", ranges.END))[: 20 * frames.ITEM_BYTES],)
    yield Decoder("items", reconcile.split_items, offered, ("wire.reconcile:split_items",))
    yield Decoder(
        "items of a range", lambda raw: ranges.told_items(raw, b"", ranges.END), told, ("swarm.ranges:told_items",)
    )
    scope = ranges.pack_scope([(b"", b"\x40"), (b"\x60" * 5, b"\x80" * 32), (b"\xf0", ranges.END)])
    yield Decoder("scope", ranges.unpack_scope, (scope,), ("swarm.ranges:unpack_scope",))


def _statements() -> Iterable[Decoder]:
    verifier = Verifier(BOB)
    yield Decoder(
        "record",
        lambda raw: record.verify_record(raw, OPEN, verifier),
        (*samples.statements("record"), *samples.rejected("record")),
        ("records.record:_statements", "records.record:verify_record", "records.record:read_record"),
        packed=True,
        signed=True,
        cost=10,
    )
    yield Decoder(
        "evidence",
        lambda raw: evidence.convicts(raw, OPEN, verifier),
        samples.evidence(),
        ("records.evidence:_codec", "records.evidence:read_evidence", "trust.evidence:convicts"),
        packed=True,
        cost=10,
    )
    verified: Any
    announced = (*samples.statements("provider"), *samples.statements("alias"))
    yield Decoder(
        "announcement",
        lambda raw: alias.verify_announcement(raw, verifier),
        announced,
        ("records.alias:verify_announcement", "records.alias:read_announcement"),
        packed=True,
    )
    for kind, verified, module in (
        ("receipt", receipt.receipts, "receipt:receipts"),
        ("attestation", attestation.attestations, "attestation:attestations"),
        ("provider", provider.providers, "provider:providers"),
        ("alias", alias.aliases, "alias:aliases"),
        ("entry", entry.entries, "entry:entries"),
        ("notice", notice.leave_notices, "notice:leave_notices"),
        ("claim", claim.claims, "claim:claims"),
        ("life", life.lives, "life:lives"),
        ("forgotten", life.forgotten_notices, "life:forgotten_notices"),
        ("revocation", revocation.revocations, "revocation:revocations"),
    ):
        yield Decoder(
            kind,
            lambda raw, each=verified: each.verify(raw, verifier),
            (*samples.statements(kind), *samples.rejected(kind)),
            (f"records.{module}",),
            packed=True,
            signed=True,
            cost=10,
        )


def _rows() -> Iterable[Decoder]:
    """What a disk gives back, which may have been damaged, or put back from another time."""
    one = samples.statements("claim")[0]
    rows = (b"name:" + bytes(32) + one, b"mortal:" + bytes(40) + one, b"added:" + bytes(32) + one, b"pinned")
    yield Decoder("row of a claim", claim_rows.read_row, rows, ("node.claims:read_row",))
    acceptor = register.encode_acceptor(register.Acceptor(), bytes(16))
    yield Decoder(
        "row of a register",
        lambda raw: register.decode_acceptor(raw, bytes(16)),
        (acceptor,),
        ("trust.register:_rows", "trust.register:decode_acceptor"),
        packed=True,
    )
    lock = messages.encode(locking.LockValue(b"token", 0, 1000))
    yield Decoder("value of a lock", locking._values.decode, (lock,), ("node.locking:_values",), packed=True)


def _blocks() -> Iterable[Decoder]:
    root = cid.Cid(cid.DAG_PB, bytes(32))

    def shard(raw: bytes) -> object:
        node = unixfs.decode(root, raw)
        return hamt.read_slots(node) if node.kind == "hamt" else None

    integrity = (WireError, PeerdError)
    nodes = samples.nodes()
    yield Decoder("cid", cid.Cid.from_bytes, samples.cids(), ("content.cid:Cid",))
    yield Decoder("cid of 34 or 36 bytes", cid.read_cid, samples.cids(), ("content.cid:read_cid",))
    yield Decoder("car", car_read, samples.cars(), ("content.car:CarReader",), (IntegrityError,), cost=3)
    yield Decoder("cid as text", _text(cid.Cid.parse), samples.cid_texts(), ("content.cid:find_cid",), integrity)
    yield Decoder("protobuf", lambda raw: list(protobuf.fields(raw)), nodes, ("content.protobuf:fields",))
    yield Decoder("varints", protobuf.varints, (b"\x01\xff\x7f",), ("content.protobuf:varints",))
    read_varint = ("content.protobuf:read_varint",)
    yield Decoder("varint", lambda raw: protobuf.read_varint(raw, 0), (b"\xff\x7f", b"\x05"), read_varint)
    yield Decoder("dag-pb", dagpb.decode_node, nodes, ("content.dagpb:decode_node",))
    yield Decoder("unixfs", lambda raw: unixfs.decode(root, raw), nodes, ("content.unixfs:decode",))
    yield Decoder("shard", shard, nodes, ("content.hamt:read_slots",))
    yield Decoder("entry", entry_found, nodes, ("content.entry_lookup:EntryLookup",), integrity)
    for name, reader, covers in (
        ("directory", DirectoryReader, "content.directory_reader:DirectoryReader"),
        ("walk", DagWalk, "content.dag_walk:DagWalk"),
        ("file", FileReader, "content.file_reader:FileReader"),
    ):

        def read(raw: bytes, reader: Any = reader) -> object:
            opened = reader(root)
            opened.wants(1)
            given = opened.give(root, raw)
            opened.wants(8)
            return given

        yield Decoder(f"{name} as it is read", read, nodes, (covers,), integrity)


def entry_found(raw: bytes) -> object:
    """Look for a name in a directory of these bytes, and go on in the same where it leads to another shard."""
    lookup = EntryLookup(cid.Cid(cid.DAG_PB, bytes(32)), "a")
    for _ in range(8):
        if not lookup.done:
            lookup.give(raw)
    return lookup.found


def car_read(raw: bytes) -> object:
    """Read a CAR file, in two pieces."""
    reader = CarReader()
    middle = len(raw) // 2
    return reader.feed(raw[:middle]), reader.feed(raw[middle:]), reader.finish()


def _names() -> Iterable[Decoder]:
    local = (PeerdError,)
    texts = (*TEXTS, *samples.peer_texts())
    yield Decoder(
        "name in a directory", _text(names.check_entry_name), texts, ("content.names:check_entry_name",), local
    )
    yield Decoder("path in a directory", _text(names.split_path), texts, ("content.names:split_path",), local)
    yield Decoder("target of a link", names.check_symlink_target, texts, ("content.names:check_symlink_target",), local)
    yield Decoder("peer id", _text(parse_peer_id), samples.peer_texts(), ("ids:parse_peer_id",), local)
    yield Decoder("peer id, perhaps", _text(find_peer_id), samples.peer_texts(), ("ids:find_peer_id",), ())
    addresses = (b"192.0.2.1:7433", b"[2001:db8::3]:7433", b"example.org:1", b":0")
    yield Decoder("address", _text(address.parse_host_port), addresses, ("config.address:parse_host_port",), local)
    apis = (b"unix:///run/peerd.sock", b"tcp://127.0.0.1:7434", *addresses)
    yield Decoder(
        "address of an API", _text(address.parse_api_address), apis, ("config.address:parse_api_address",), local
    )
    sizes = (b"10GiB", b"1 MB", b"1.5 TiB", b"4096")
    yield Decoder("size", _text(units.parse_size), sizes, ("config.units:parse_size",), local)
    paths = (b"ab/cdef", b"proj/cas/" + b"0f" * 32, b"/a//b", b"..", b"cas/" + b"0f" * 32)
    yield Decoder(
        "path in a build cache",
        _text(entry_names.parse_entry_path),
        paths,
        ("node.entry_names:parse_entry_path",),
        local,
    )
    certificate = tls.certificate_of(bytes(32))
    yield Decoder("certificate", lambda raw: tls.is_certificate_of(BOB.peer, raw), (certificate,), (), ())
    yield Decoder("hint of mDNS", _hint, (b"\n".join(_hint_lines()),), ("io.mdns_hints:read_hint",), ())


def _mdns() -> Iterable[Decoder]:
    """What zeroconf takes apart before we see it: it never raises, but says that a packet is none."""

    def read(raw: bytes) -> object:
        answers = DNSIncoming(raw, ("192.168.1.7", 5353)).answers()
        return [(each, each.name, each.key) for each in answers]

    attacks = Attacks(random.Random(1), DIGEST, "192.168.1.7", 7433, ())
    some = (attacks.fake(), attacks.controls(), attacks.addresses(), attacks.pointers(), attacks.question())
    yield Decoder("packet of mDNS", read, some, (), (), cost=3)


def _hint_lines() -> Iterable[bytes]:
    return (samples.peer_texts()[0], b"1", DIGEST.encode(), b"7433", b"192.168.1.7", b"fe80::1", b"10.0.0.1")


def _hint(raw: bytes) -> object:
    lines = raw.split(b"\n")
    lines += [b""] * (4 - len(lines))
    properties = dict(zip((b"id", b"v", b"net"), lines, strict=False))
    port = int.from_bytes(lines[3][:3], "big") if lines[3] else None
    texts = [line.decode("utf-8", "surrogateescape") for line in lines[4:]]
    return read_hint(properties, texts, port, digest=DIGEST, interface=LAN)


def _http() -> Iterable[Decoder]:
    local = (PeerdError,)
    tag = '"3-ab"'
    targets = (b"/v1/names/a%2fb?require=2&ttl=3600", b"/v1/names/%E2%9B%B5", b"/v1/status", b"*", b"http://x/")
    queries = (b"require=2&ttl=60&own=1&if-version=3-ab", b"timeout=1.5&offset=1&length=2", b"consistency=one&pin")
    known = [each for each in vars(params).values() if isinstance(each, params.Param)]
    yield Decoder("target", _text(target.split_target), targets, ("api.target:split_target",), local)
    yield Decoder(
        "part of a target", _text(lambda raw: target.decode(raw, "it")), targets, ("api.target:decode",), local
    )
    yield Decoder("query", _text(target.decode_query), queries, ("api.target:decode_query",), local)
    yield Decoder(
        "parameters", _text(lambda raw: params.read_query(raw, known)), queries, ("api.params:read_query",), local
    )
    spans = (b"bytes=0-9", b"bytes=-5", b"bytes=5-", b"bytes=0-1,3-4")
    for size in (0, 10):
        span = _text(lambda raw, size=size: conditions.read_range(raw, None, tag, size))
        yield Decoder(f"range of {size}", span, spans, ("api.conditions:read_range",), local)
    tags = (b'"3-ab"', b'W/"x", "y"', b"*", b'"\xc3\xa9"')
    for name, check in (
        ("If-Match on a write", lambda raw: conditions.wanted_version(raw, None, None)),
        ("If-None-Match on a write", lambda raw: conditions.wanted_version(None, raw, None)),
        ("If-Match", lambda raw: conditions.check_if_match(raw, tag)),
        ("If-None-Match", lambda raw: conditions.is_unchanged(raw, tag)),
    ):
        yield Decoder(name, _text(check), tags, ("api.conditions:wanted_version",), local)
    bound = guard.Bound("127.0.0.1", 7434)
    hosts = (b"127.0.0.1:7434", b"localhost:7434", b"[::1]:7434", b"evil.example:7434")
    host = _text(lambda raw: guard.check_host([raw], bound, "127.0.0.1"))
    yield Decoder("Host", host, hosts, ("api.guard:check_host",), local)
    root = b"bafkreiem4twkqzsq2aj4shbycd4yvoj2cx72vezicletlhi7dijjciqpui"
    paths = (root, root + b"/a/b/", root + b"/../x", b"bafkqabtimvwgy3yk")
    accepts = (b"application/vnd.ipld.car; version=1; order=dfs; dups=y, */*;q=0.1", b"application/vnd.ipld.raw")
    ranges_of = (b"0:5", b"-3:*", b"2:-1")
    path = _text(lambda raw: read_request(raw, {}, None))
    yield Decoder("path of the gateway", path, paths, ("api.gateway_request:read_request",), local)
    accept = _text(lambda raw: read_request(root.decode(), {}, raw))
    yield Decoder("form of the gateway", accept, accepts, ("api.gateway_request:read_request",), local)
    entity = _text(lambda raw: read_request(root.decode(), {"entity_bytes": raw}, None))
    yield Decoder("bytes of an entity", entity, ranges_of, ("api.gateway_request:read_request",), local)
    credentials = (b"Bearer secret", b"Basic Og==", b"Basic cGVlcjpzZWNyZXQ=")
    yield Decoder(
        "Authorization",
        _text(lambda raw: guard.check_token([raw], "secret")),
        credentials,
        ("api.guard:check_token",),
        local,
    )


class _Ingest(_TarReader):
    """The reader of a directory that is put, without a peer to keep its blocks."""

    def _put(self, blocks: list[Any]) -> None:
        pass

    def _send(self) -> None:
        pass


def _tars() -> Iterable[Decoder]:
    def extracted(raw: bytes) -> object:
        reader = TarReader(iter([memoryview(raw)]))
        while (entry := reader.next()) is not None:
            for _ in reader.data(entry.size):
                pass
        return None

    def ingested(raw: bytes) -> object:
        import io

        return _Ingest(cast("Any", None), cast("Any", io.BytesIO(raw)), cast("Any", None)).run()

    yield Decoder("tar that arrives", extracted, samples.tars(), ("cli.tarin:TarReader",), (Failure,), cost=5)
    yield Decoder("tar that is put", ingested, samples.tars(), (), (PeerdError,), cost=30)


def _files() -> Iterable[Decoder]:
    """Files of the user and of the daemon's own directory."""
    folder = Path(tempfile.mkdtemp(prefix="peerd-fuzz-"))
    file = folder / "file"
    file.touch(0o600)

    def written(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def decode(raw: bytes) -> object:
            file.write_bytes(raw)
            return read(file)

        return decode

    def settings(path: Path) -> object:
        return load({"config": str(path)}, {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)})

    toml = (
        b'listen = "127.0.0.1:7433"\nmdns = false\nquota = "1GiB"\nbootstrap = ["192.0.2.1:7433"]\n',
        b'network = "lab"\nprobe_interval_s = 0.5\napi = ["unix:///tmp/x.sock"]\n',
    )
    local = (PeerdError,)
    yield Decoder("settings file", written(settings), toml, ("config.load:load",), local, cost=20)
    yield Decoder(
        "network key",
        written(secret.read_network_key),
        (b"secret\n",),
        ("config.secret:read_network_key",),
        local,
        cost=5,
    )
    yield Decoder("secret file", written(datadir.load_secret), (bytes(32),), (), local, cost=5)
    yield Decoder(
        "passphrase", written(secret.read_passphrase), (b"words\n",), ("config.secret:read_passphrase",), local, cost=5
    )
    revoked = tuple(revocation.pack_text(raw) for raw in samples.statements("revocation"))
    yield Decoder("file of a revocation", revocation.parse_text, revoked, ("records.revocation:parse_text",))
    sealed = samples.sealed_identity()
    yield Decoder("identity", sealed_identity.peer_of, (sealed, bytes(32)), (), local)
    yield Decoder("sealed identity", lambda raw: sealed_identity.unseal(raw, b"words"), (sealed,), (), local, cost=50)


class _Given:
    """A socket that has given all it will give."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def setblocking(self, flag: bool) -> None:
        pass

    def fileno(self) -> int:
        return 0

    def recv(self, limit: int) -> bytes:
        piece, self.data = self.data[:limit], self.data[limit:]
        return piece

    def recv_into(self, view: memoryview) -> int:
        piece = self.recv(len(view))
        view[: len(piece)] = piece
        return len(piece)


def _command_line() -> Iterable[Decoder]:
    def answer(raw: bytes) -> object:
        response = Wire(cast("Any", _Given(raw)), 1.0).response()
        return [bytes(piece) for piece in response.pieces()]

    answers = (
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "1-a"\r\n\r\nhello',
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    yield Decoder("answer of the daemon", answer, answers, ("cli.httpwire:Wire",), (WireFailure,), cost=3)
    for name, check in (
        ("key on the command line", cli_keys.target),
        ("new name on the command line", lambda text: cli_keys.new_name(text, own=False)),
    ):
        yield Decoder(name, _argument(check), (*TEXTS, *samples.cid_texts()), (), (Failure,))


def _argument(check: Callable[[str], object]) -> Callable[[bytes], object]:
    """Arguments hold no zero byte."""
    return lambda raw: check(raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))

"""Importing: a CAR becomes blocks here, and each of its roots is added as `peer add` adds a file.

All of it or nothing: a block that is not what it says, a root that is not whole, a form that peerd does not read ends
the import before anything is claimed or told, and what came is freed. Memory does not grow with the file.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from peerd.content.build import Node
from peerd.content.car import CarReader
from peerd.content.cid import Cid
from peerd.content.cid_set import CidSet
from peerd.content.limits import WALK_BLOCKS_MAX
from peerd.content.read import DagNode, DagWalk
from peerd.errors import IntegrityError, NoRoomError, PeerdError, TooFewCopiesError
from peerd.node import results
from peerd.node.blocks import BlockWriter
from peerd.node.core import Core
from peerd.node.ingest import OFFLOAD_MIN_BYTES, Ingested, room_here
from peerd.node.put import add_ingested, check_options, elapsed_ms
from peerd.node.results import PutOptions


class _Arrived(NamedTuple):
    roots: list[Cid]
    blocks: int
    bytes: int


async def import_car(core: Core, body: AsyncIterator[bytes], options: PutOptions) -> results.Imported:
    """Take in a CAR and add every root of it.

    Raises IntegrityError for one that is malformed or lacks blocks, and what adding raises.
    """
    started = core.now()
    check_options(options)
    try:
        with core.intake.one():
            arrived = await _take_in(core, body)
            whole = [await _whole(core, root) for root in arrived.roots]
            added = await _add_each(core, whole, options)
    finally:
        core.tasks.spawn(core.intake.sweep(), "sweep")
    elapsed = elapsed_ms(core, started)
    return results.Imported(roots=added, blocks=arrived.blocks, size=arrived.bytes, elapsed_ms=elapsed)


async def _take_in(core: Core, body: AsyncIterator[bytes]) -> _Arrived:
    reader, seen = CarReader(), CidSet()
    writer = BlockWriter(core.store, core.room, writer=core.peer)
    try:
        with room_here():
            async for piece in body:
                if len(piece) >= OFFLOAD_MIN_BYTES:
                    blocks = await core.environment.offload(reader.feed, piece)
                else:
                    blocks = reader.feed(piece)
                for block in blocks:
                    if not seen.add(block.cid.to_bytes()):
                        continue
                    if len(seen) > WALK_BLOCKS_MAX:
                        raise IntegrityError(f"a CAR file of more than {WALK_BLOCKS_MAX} blocks")
                    await writer.add(block)
            roots = list(dict.fromkeys(reader.finish()))
            if not roots:
                raise IntegrityError("not a CAR file that can be taken: it names no root")
            await writer.flush()
    finally:
        await writer.close()
    return _Arrived(roots, len(seen), writer.dag_bytes)


async def _add_each(core: Core, whole: list[Ingested], options: PutOptions) -> list[results.Put]:
    """Add every root; raises only then what failed first, so that one root without its copies keeps no other away."""
    added: list[results.Put] = []
    failed: PeerdError | None = None
    for each in whole:
        try:
            added.append(await add_ingested(core, each, options, core.now()))
        except (TooFewCopiesError, NoRoomError) as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return added


async def _whole(core: Core, root: Cid) -> Ingested:
    """Return a root with all blocks below it, every one of which is here; raises IntegrityError where one is not."""
    walk = DagWalk(root)
    dag_bytes = file_bytes = 0
    top: DagNode | None = None
    while not walk.done:
        cid = walk.wants(1)[0]
        data = await core.store.block(cid)
        if data is None:
            raise IntegrityError(f"not a CAR file that can be taken: it lacks {cid}, which hangs below its root {root}")
        node = walk.give(cid, data)
        assert node is not None, "it was awaited"
        top = top or node
        dag_bytes += len(data)
        file_bytes += len(node.data) if node.kind in ("raw", "file") else 0
    assert top is not None, "a walk begins with its root"
    if top.kind == "symlink":
        raise IntegrityError(f"not a CAR file that can be taken: its root {root} is a symbolic link")
    if top.kind in ("directory", "hamt"):
        return Ingested(Node(root, file_bytes, dag_bytes, "directory"), bytes(walk.cids), None)
    return Ingested(Node(root, top.file_size, dag_bytes, "file"), bytes(walk.cids), None)

"""The entries of a stored directory: its shards are asked for together, so that many files are few round trips."""

from typing import TYPE_CHECKING

from peerd.content.cid import Cid
from peerd.content.read import DirectoryReader, Listing

if TYPE_CHECKING:
    from peerd.node.get import Source

# Shards asked for together, and how many bytes of them at most.
AHEAD_SHARDS = 128
AHEAD_BYTES = 12 * 1024 * 1024


async def entries(source: "Source", root: Cid, first: bytes | None = None) -> Listing:
    """Return the entries of a directory, sorted by name; `first` is its root block where that is here already."""
    reader = DirectoryReader(root)
    listing = Listing()
    if first is not None:
        listing.add(reader.give(root, first))
    while not reader.done:
        for cid, data in (await _blocks(source, reader.fitting(AHEAD_SHARDS, AHEAD_BYTES))).items():
            listing.add(reader.give(cid, data))
    listing.sort()
    return listing


async def _blocks(source: "Source", wanted: dict[Cid, int]) -> dict[Cid, bytes]:
    """Return blocks, so large at most: small ones that are here by one look, the others asked for together."""
    found = await source.small_here(list(wanted))
    asked = await source.ask({cid: size for cid, size in wanted.items() if cid not in found})
    for cid, future in asked.items():
        found[cid] = await source.asked(cid, future)
    return {cid: found[cid] if cid in found else await source.block(cid) for cid in wanted}

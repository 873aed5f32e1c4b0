"""A download as a careful script does it: `python -m tests.bench.rivals.http_get URL PATH`; says how long it took."""

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import aiohttp

_PIECE_BYTES = 1024 * 1024


async def _get(url: str, path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        began = time.monotonic()
        hashed = hashlib.sha256()
        async with session.get(url) as response:
            with path.open("wb") as out:
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    hashed.update(piece)
                    out.write(piece)
        hashed.digest()
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    asyncio.run(_get(sys.argv[1], Path(sys.argv[2])))

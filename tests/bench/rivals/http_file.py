"""One file by HTTP, as aiohttp serves files (sendfile): `python -m tests.bench.rivals.http_file PATH HOST PORT`."""

import sys
from pathlib import Path

from aiohttp import web


def main() -> None:
    """Serve until killed; say when."""
    path, host, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    async def answer(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    async def say(app: web.Application) -> None:
        print("serving", flush=True)

    app = web.Application()
    app.router.add_get("/", answer)
    app.on_startup.append(say)
    web.run_app(app, host=host, port=port, print=None)


if __name__ == "__main__":
    main()

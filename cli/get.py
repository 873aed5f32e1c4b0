"""`peer get` and `peer cat`: fetch a value to standard output, or to a file or directory that is whole or not there."""

# Modules are imported where they are needed: start time.
# ruff: noqa: PLC0415
from __future__ import annotations

import os

from . import keys, output
from .api import Client
from .failure import of_os_error, usage
from .fetch import Fetch
from .progress import Progress, for_invocation
from .text import safe, seconds, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Invocation
    from .place import Place


def get(invocation: Invocation) -> None:
    """Fetch to standard output, or to the path given with -o."""
    name = keys.target(invocation.operands[0])
    path = invocation.text("out")
    if path is None or path == "-":
        _to_stdout(invocation, name)
        return
    from .place import Place

    with Place(path) as place:
        into = place.open_first()
        with Fetch(Client(invocation), name, invocation, any_order=not place.is_stream, into=into) as fetch:
            place.check(fetch.kind)
            progress = for_invocation(invocation, "get")
            if fetch.kind == "directory":
                place.forget_first()
                written = _to_directory(place, fetch, progress)
            else:
                written = _to_file(place, fetch, progress)
            _keep_pinned(invocation, fetch)
            _tell(invocation, fetch, f"wrote {place.shown} ({size(written)})")


def cat(invocation: Invocation) -> None:
    """Fetch a byte range to standard output."""
    _to_stdout(invocation, keys.target(invocation.operands[0]), "offset", "length")


def _to_stdout(invocation: Invocation, name: str, *options: str) -> None:
    with Fetch(Client(invocation), name, invocation, *options) as fetch:
        if fetch.kind == "directory":
            raise usage(
                f"{safe(name)} is a directory", "write it with `peer get KEY -o PATH`, or list it with `peer ls`"
            )
        _warn_if_stale(invocation, fetch)
        on_screen = output.is_terminal(output.STDOUT)
        progress = Progress("get", shown=False) if on_screen else for_invocation(invocation, "get")
        progress.expect(fetch.length)
        with progress:
            for piece in fetch.pieces():
                output.write(piece)
                progress.add(len(piece))
        _keep_pinned(invocation, fetch)


def _to_file(place: Place, fetch: Fetch, progress: Progress) -> int:
    count = fetch.length if fetch.landing is None else fetch.landing
    place.require_room(count or 0)
    fd = place.open_file()
    written = 0
    progress.expect(count)
    try:
        with progress:
            for moved in fetch.landed():
                written += moved
                progress.add(moved)
            for piece in fetch.pieces() if fetch.landing is None else ():
                view = piece
                while view:
                    view = view[_write(fd, view, place.shown) :]
                written += len(piece)
                progress.add(len(piece))
        place.commit(fd, written)
    finally:
        os.close(fd)
    return written


def _keep_pinned(invocation: Invocation, fetch: Fetch) -> None:
    """Pin what was fetched in parts: the daemon has pinned only what it sent whole."""
    if invocation.flag("pin") and fetch.resumed:
        import json

        cid = json.loads(fetch.info).get("cid")
        Client(invocation).call("POST", f"/v1/pins/{keys.quote(str(cid))}").close()


def _told_size(fetch: Fetch) -> int:
    import json

    size = json.loads(fetch.info).get("size")
    return size if isinstance(size, int) else 0


def _write(fd: int, view: memoryview, shown: str) -> int:
    try:
        return os.write(fd, view)
    except OSError as error:
        raise of_os_error(error, f"writing {shown}") from None


def _to_directory(place: Place, fetch: Fetch, progress: Progress) -> int:
    from .extract import Extractor

    place.require_room(_told_size(fetch))
    top = place.open_directory()
    try:
        with progress:
            extractor = Extractor(top, progress)
            extractor.extract(fetch.pieces())
        place.commit(top)
    finally:
        os.close(top)
    return progress.done


def _tell(invocation: Invocation, fetch: Fetch, line: str) -> None:
    _warn_if_stale(invocation, fetch)
    if invocation.flag("json"):
        output.json_raw(fetch.info.encode("utf-8", "backslashreplace"))
    elif not invocation.flag("quiet"):
        output.say(line)


def _warn_if_stale(invocation: Invocation, fetch: Fetch) -> None:
    if "stale_since_s" in fetch.info and not invocation.flag("quiet"):
        import json

        stale = json.loads(fetch.info).get("stale_since_s")
        output.say(f"peer: this may be old: its freshness could not be shown for {seconds(stale)}")

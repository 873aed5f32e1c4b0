"""`peer://` for fsspec: keys and content of the network as files, for pandas, dask, zarr and whatever else opens URLs.

    peer://KEY                    a file by its key, which may have slashes: peer://data/2026/a.parquet
    peer://KEY/path               a file in a directory that was stored under a key (`peer put KEY DIR`)
    peer://CID, peer://CID/path   the same by content id
    peer://PEER/KEY               a peer's own key

A client of the local API, like the command line: it imports nothing of the daemon. A directory is a key that names one,
or what stands before a slash in other keys; of these this peer lists those that it keeps. Empty directories are
not kept. A directory stored whole is changed whole: its files are read here, not written.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import warnings
import weakref
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fsspec.asyn import AsyncFileSystem, sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike

from peerd_fsspec.client import Client, content, kv
from peerd_fsspec.file import PeerFile
from peerd_fsspec.local import Partial, make_directory, open_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Info = dict[str, Any]

PIECE_BYTES = 1024 * 1024
DIRECTORIES_MAX = 256
"""Directories whose entries are remembered: by content id, so that they never change."""

DEPTH_MAX = 64
"""Slashes in a path that are looked at for a directory above it."""


class PeerFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files of a network of peers, by the API of the daemon on this machine.

    `api` is its address as `peer --api` takes it (`unix:PATH`, `HOST:PORT`; PEER_API and the defaults without it),
    `token` that of a TCP address (PEER_TOKEN, or the data directory's). `consistency` and `require` are those of `peer
    put` and `get`.
    """

    protocol = "peer"
    root_marker = ""
    cachable = True

    def __init__(
        self,
        api: str | None = None,
        token: str | None = None,
        *,
        consistency: str | None = None,
        require: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(api=api, token=token, consistency=consistency, require=require, **more)
        self.api = api
        self.token = token
        self._reading = {"consistency": consistency} if consistency else {}
        self._writing = {**self._reading, **({"require": str(require)} if require else {})}
        self._directories: OrderedDict[str, list[Info]] = OrderedDict()
        self._client = Client(api, token)
        if not self.asynchronous:
            weakref.finalize(self, _close, self.loop, self._client)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        text = text.removeprefix("peer://").removeprefix("peer::")
        return text.strip("/")

    async def close(self) -> None:
        """Close the connections to the daemon; for file systems made with `asynchronous=True`."""
        await self._client.close()

    # What is there.

    async def _info(self, path: str, **more: Any) -> Info:
        path = self._strip_protocol(path)
        if not path:
            return {"name": "", "size": 0, "type": "directory"}
        keys = await self._keys(path)
        if path not in keys and _has_below(keys, path):
            return {"name": path, "size": 0, "type": "directory"}
        found = await self._named(path, keys)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found

    async def _ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        path = self._strip_protocol(path)
        keys = await self._keys(path)
        listed = {info["name"]: info for info in _children(keys, path)}
        if path and (path in keys or not listed):
            found = await self._named(path, keys)
            if found is None and not listed:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if found is not None and found["type"] != "directory" and not listed:
                listed[path] = found
            if found is not None and "cid" in found and found["type"] == "directory":
                for info in await self._entries(found["cid"]):
                    name = f"{path}/{info['name']}"
                    listed.setdefault(name, {**info, "name": name})
        infos = [listed[name] for name in sorted(listed)]
        return infos if detail else [info["name"] for info in infos]

    async def _keys(self, prefix: str = "") -> dict[str, Info]:
        """Return the keys that this peer keeps and that are paths, those that begin with `prefix`.

        Anybody may write the key `a/../../b`: who fetches all below `a` must not write beside where it is to go.
        """
        entries = await self._client.json("/v1/ls", {"prefix": prefix} if prefix else {})
        return {entry["name"]: _info(entry) for entry in entries if is_path(entry["name"])}

    async def _head(self, key: str) -> Info | None:
        """Return what a key or content id names, None where it names nothing."""
        try:
            async with self._client.request("HEAD", kv(key), query=self._reading) as response:
                told = json.loads(response.headers["X-Peerd-Get"])
        except (FileNotFoundError, ValueError):  # what can be no key names nothing
            return None
        found = {"name": key, "size": told["size"], "type": told["kind"], "cid": told["cid"]}
        return found | {name: told[name] for name in ("version", "writer") if name in told}

    async def _named(self, path: str, keys: dict[str, Info]) -> Info | None:
        """Return what a path names: a key or content id, or something in a directory that one of these names.

        All that may be it are asked for at once: that there is nothing is not known at once.
        """
        parts = path.split("/")
        counts = [len(parts), *range(min(len(parts) - 1, DEPTH_MAX), 0, -1)]
        above = {count: "/".join(parts[:count]) for count in counts}
        asked = [count for count in counts if count == len(parts) or _may_be_directory(keys, above[count])]
        found = await asyncio.gather(*(self._head(above[count]) for count in asked))
        for count, info in zip(asked, found, strict=True):
            if info is not None and (count == len(parts) or info["type"] == "directory"):
                return await self._descend(info, path, parts[count:])
        return None

    async def _descend(self, found: Info, path: str, parts: list[str]) -> Info | None:
        for part in parts:
            if found["type"] != "directory":
                return None
            entries = {info["name"]: info for info in await self._entries(found["cid"])}
            if part not in entries:
                return None
            found = entries[part]
        return {**found, "name": path}

    async def _entries(self, cid: str) -> list[Info]:
        """Return the entries of a directory by its content id."""
        if cid not in self._directories:
            self._directories[cid] = [_info(entry) for entry in await self._client.json("/v1/ls", {"target": cid})]
            while len(self._directories) > DIRECTORIES_MAX:
                self._directories.popitem(last=False)
        self._directories.move_to_end(cid)
        return self._directories[cid]

    def ukey(self, path: str) -> str:
        """Return the content id of a file: it is another where the bytes are."""
        return str(self.info(path).get("cid", "directory"))

    def checksum(self, path: str) -> int:
        """Return a number that is another where the bytes are."""
        return hash(self.ukey(path))

    # Reading.

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        path = self._strip_protocol(path)
        if (start or 0) < 0 or (end or 0) < 0:
            size = (await self._info(path))["size"]
            start = max(0, size + start) if start is not None and start < 0 else start
            end = size + end if end is not None and end < 0 else end
        if end is not None and end <= (start or 0):
            return b""
        async with _closing(self._pieces(path, start or 0, end)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _pieces(self, path: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a file; raises FileNotFoundError, IsADirectoryError."""
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        try:
            async with self._client.request("GET", kv(path), query=self._reading, headers=headers) as response:
                if response.headers.get("X-Peerd-Kind") == "directory":
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    yield piece
                return
        except EOFError:
            return
        except (FileNotFoundError, ValueError):
            found = await self._info(path)
        if found["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if found["type"] == "link":
            raise io.UnsupportedOperation(f"symbolic links are not followed: {path}")
        with suppress(EOFError):
            async with self._client.request("GET", content(found["cid"]), headers=headers) as response:
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    yield piece

    async def read_content(self, cid: str, start: int, end: int) -> bytes:
        """Return a range of content by its id: the same bytes whatever is written under its key meanwhile."""
        headers = {"Range": f"bytes={start}-{end - 1}"}
        async with self._client.request("GET", content(cid), headers=headers) as response:
            return bytes(await response.read())

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **more: Any) -> None:
        rpath = self._strip_protocol(rpath)
        if isfilelike(lpath):
            async with _closing(self._pieces(rpath)) as pieces:
                async for piece in pieces:
                    lpath.write(piece)
                    callback.relative_update(len(piece))
            return
        found = await self._info(rpath)
        if found["type"] == "directory":
            make_directory(lpath)
            return
        if found["type"] == "link":
            warnings.warn(f"a symbolic link is left out: {rpath}", stacklevel=2)
            return
        callback.set_size(found["size"])
        with Partial(lpath) as file:
            async with _closing(self._pieces(rpath)) as pieces:
                async for piece in pieces:
                    file.write(piece)
                    callback.relative_update(len(piece))

    # Writing.

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        await self.store(path, value, exclusive=mode == "create")

    async def _put_file(
        self, lpath: str, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **more: Any
    ) -> None:
        opened = open_file(lpath)
        if opened is None:
            return  # none is kept without a file in it
        file, size = opened
        callback.set_size(size)
        with file:
            await self.store(rpath, file, exclusive=mode == "create")
        callback.absolute_update(size)

    async def store(self, path: str, data: Any, *, exclusive: bool = False, version: str | None = None) -> Info:
        """Store bytes or an open file under a key; returns the daemon's answer.

        `exclusive`, only where there is nothing; with `version`, only where that is the present one: else
        FileExistsError.
        """
        path = self._strip_protocol(path)
        headers = {"Content-Type": "application/octet-stream"}
        if exclusive:
            headers["If-None-Match"] = "*"
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        if isinstance(data, bytes | bytearray | memoryview):
            data = io.BytesIO(data)
        async with self._client.request("PUT", kv(path), query=self._writing, headers=headers, data=data) as response:
            return dict(json.loads(await response.read()))

    async def _cp_file(self, path1: str, path2: str, **more: Any) -> None:
        path1 = self._strip_protocol(path1)
        if (await self._info(path1))["type"] == "directory":
            return
        async with _closing(self._pieces(path1)) as pieces:
            await self.store(path2, pieces)

    async def _rm_file(self, path: str, **more: Any) -> None:
        async with self._client.request("DELETE", kv(self._strip_protocol(path)), query=self._writing):
            pass

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **more: Any,
    ) -> None:
        paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
        keys = await self._keys()
        for each in paths:
            if each in keys or not (_has_below(keys, each) or _is_below(paths, each)):
                await self._remove(each)
            elif not recursive and _has_below(keys, each):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), each)

    async def _remove(self, path: str) -> None:
        try:
            await self._rm_file(path)
        except FileNotFoundError:
            if (await self._info(path)).get("type"):  # in a directory that was stored whole
                raise PermissionError(errno.EPERM, "a directory that was stored whole is changed whole", path) from None

    async def _rmdir(self, path: str) -> None:
        path = self._strip_protocol(path)
        if await self._ls(path, detail=False):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)

    rmdir = sync_wrapper(_rmdir)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | str | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        return PeerFile(
            self, path, mode, block_size or "default", autocommit=autocommit, cache_options=cache_options, **more
        )


def is_path(key: str) -> bool:
    """Return whether a key is a plain path, which leads nowhere but below where it begins."""
    return "\0" not in key and not any(part in ("", ".", "..") for part in key.split("/"))


def _info(entry: dict[str, Any]) -> Info:
    kind = "link" if entry["kind"] == "symlink" else entry["kind"]
    return {"name": entry["name"], "size": entry["size"], "type": kind, "cid": entry["cid"]}


def _may_be_directory(keys: dict[str, Info], key: str) -> bool:
    return key not in keys or keys[key]["type"] == "directory"


def _has_below(keys: dict[str, Info], path: str) -> bool:
    return any(key.startswith(f"{path}/") for key in keys)


def _is_below(paths: list[str], path: str) -> bool:
    return any(path.startswith(f"{other}/") for other in paths)


def _children(keys: dict[str, Info], path: str) -> list[Info]:
    """Return what stands right below a path among keys: those keys, and directories where keys go on below them."""
    prefix = f"{path}/" if path else ""
    found: dict[str, Info] = {}
    for key, info in keys.items():
        if not key.startswith(prefix) or key == prefix:
            continue
        name, slash, _ = key[len(prefix) :].partition("/")
        whole = prefix + name
        if not slash:
            found[whole] = info
        elif name:
            found.setdefault(whole, {"name": whole, "size": 0, "type": "directory"})
    return list(found.values())


class _closing:
    """Gives out an iterator and closes it at the end: what it reads from is not left open."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    async def __aenter__(self) -> Any:
        return self._iterator

    async def __aexit__(self, *exc_info: object) -> None:
        await self._iterator.aclose()


def _close(loop: asyncio.AbstractEventLoop | None, client: Client) -> None:
    if loop is not None and loop.is_running():
        with suppress(Exception):
            sync(loop, client.close, timeout=1.0)

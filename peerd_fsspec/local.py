"""Files of this machine, as `get` writes them and `put` reads them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO


class Partial:
    """A file that comes to stand under its name when it is whole, as a context manager; `write` its bytes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes]

    def __enter__(self) -> Partial:
        self._file = tempfile.NamedTemporaryFile(prefix=".peer-", dir=self._path.parent, delete=False)
        return self

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        self._file.write(data)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        partial = Path(self._file.name)
        try:
            self._file.close()
            if kind is None:
                partial.chmod(0o666 & ~_umask())
                partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)


def make_directory(path: str) -> None:
    """Make a directory and those above it."""
    Path(path).mkdir(parents=True, exist_ok=True)


def open_file(path: str) -> tuple[IO[bytes], int] | None:
    """Return a file ready to be read, and its size; None for a directory."""
    if Path(path).is_dir():
        return None
    return Path(path).open("rb"), Path(path).stat().st_size


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

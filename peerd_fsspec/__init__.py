"""`peer://` for fsspec (extra `fsspec`): a client of the local API, like `peerd_cli`, which imports no daemon."""

from peerd_fsspec.filesystem import PeerFileSystem

__all__ = ["PeerFileSystem"]

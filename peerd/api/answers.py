"""Answers of routes about the API or the daemon itself; those of the node's operations are in node.results."""

from msgspec import Struct


class Id(Struct, frozen=True, kw_only=True):
    """This peer's id."""

    id: str


class Version(Struct, frozen=True, kw_only=True):
    """The daemon's version."""

    version: str


class Paths(Struct, frozen=True, kw_only=True):
    """Where the daemon keeps its things and can be reached; `token` is the file, `config` None where there is none."""

    data: str
    token: str
    config: str | None
    api: list[str]
    listen: str


class Token(Struct, frozen=True, kw_only=True):
    """The file that holds the API's token; never the token, which would be in what keeps answers."""

    token: str


class Health(Struct, frozen=True, kw_only=True):
    """`live`: the process answers; `ready`: the peer serves."""

    status: str


class DropList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The addresses, `ip:port`, whose datagrams and connections a daemon of a lab drops."""

    drop: list[str]

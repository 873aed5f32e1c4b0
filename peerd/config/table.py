"""The table of settings: one field a setting, with its type, default, meaning and bounds.

Everything else follows from a field: the key in the file is its name (without the `_bytes` of a size that people
write with a unit, see `About.key`), the variable is `PEERD_` and the key in capitals, the flag is what `About.flag`
says, the unit is the end of the name, and docs/SETTINGS.md is printed from here. To add a setting, add a field.

Not here: numbers that all peers must agree on (wire, kad, content); they are constants of the protocol.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from peerd.config.address import ApiAddress, HostPort

DEFAULT_PORT = 7433
DEFAULT_API_PORT = 7434
NETWORK_NAME_MAX_BYTES = 255
QUOTA_SHARE = 10
"""Without a quota, one part in this many of the file system."""

DAY_S = 86400.0
YEAR_S = 365 * DAY_S

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


class About(msgspec.Struct, frozen=True):
    """What is to be said of a setting beyond its name, type and default; `least` and `most` bound its numbers."""

    meaning: str
    flag: str | None = None
    """As the help shows it: `--data DIR`; without an argument it turns the setting off: `--no-mdns`."""
    key: str | None = None
    """The key in the file, where it is not the field's name."""
    default: str | None = None
    """The default in words, where it is worked out when peerd starts."""
    least: float | None = None
    most: float | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a peer, checked; `load` makes one, tests and the simulator may make their own."""

    # Where and who
    data: Annotated[
        Path,
        About("identity, store, token, remembered peers", flag="--data DIR", default="$XDG_DATA_HOME/peerd"),
    ]
    listen: Annotated[
        HostPort,
        About(
            "overlay address, the same number for UDP and TCP; port 0 picks a free one; "
            "0.0.0.0 is every address, IPv6 too where the host has it",
            flag="--listen HOST:PORT",
        ),
    ] = HostPort("0.0.0.0", DEFAULT_PORT)  # noqa: S104  a peer is there for its whole network
    api: Annotated[
        tuple[ApiAddress, ...],
        About(
            "local API, `unix:PATH` or HOST:PORT; given, it replaces both defaults",
            flag="--api ADDR",
            default=f"unix:$XDG_RUNTIME_DIR/peerd/api.sock (else DATA/api.sock) and 127.0.0.1:{DEFAULT_API_PORT}",
        ),
    ] = ()
    gateway: Annotated[
        HostPort | None,
        About(
            "the read-only IPFS gateway, without a token, on an address of its own",
            flag="--gateway HOST:PORT",
            default="off",
        ),
    ] = None
    network: Annotated[str, About("overlays of different names never merge", flag="--network NAME")] = "default"
    network_key: Annotated[
        Path | None,
        About("file with a shared secret: only its holders get in", flag="--network-key FILE", default="none: open"),
    ] = None
    passphrase_file: Annotated[
        Path | None,
        About(
            "file with the passphrase of a protected identity; one that is made at the first start is protected by it",
            flag="--passphrase-file FILE",
            default="none: asked for on a terminal",
        ),
    ] = None

    # Finding others
    bootstrap: Annotated[
        tuple[HostPort, ...],
        About("peers to join through, host names allowed", flag="--bootstrap HOST:PORT"),
    ] = ()
    mdns: Annotated[bool, About("announce and browse on the LAN", flag="--no-mdns")] = True
    interfaces: Annotated[
        tuple[str, ...],
        About(
            "interfaces for mDNS, by name or address",
            default="all that are up, without those of containers, virtual machines and tunnels",
        ),
    ] = ()
    lonely_interval_s: Annotated[
        float, About("how often a peer that sees nobody announces itself and asks again", least=0.1, most=3600)
    ] = 3.0
    hints_max: Annotated[
        int, About("unproven addresses from mDNS kept at a time, so that a noisy LAN fills no memory", least=8)
    ] = 256
    remembered_max: Annotated[int, About("proven peers remembered across a restart", least=1)] = 256

    # What is kept
    quota_bytes: Annotated[
        int | None,
        About(
            "disk for everything kept", flag="--quota SIZE", key="quota", default="10 % of the file system", least=2**20
        ),
    ] = None
    digest_max_bytes: Annotated[
        int,
        About(
            "files put here up to this size are found by their plain SHA-256 too, for which they are hashed once more",
            least=0,
        ),
    ] = 2**40
    copies: Annotated[int, About("copies wanted of each piece of content", flag="--copies N", least=1, most=255)] = 3
    cache_max_bytes: Annotated[
        int | None, About("disk for what was fetched and may go again", default="what the quota leaves", least=0)
    ] = None
    build_cache_max_bytes: Annotated[
        int | None,
        About(
            "disk for what build tools put under `/cache/`, within that for what may go",
            default="a quarter of the quota",
            least=0,
        ),
    ] = None
    build_cache_ttl_s: Annotated[
        int, About("how long an entry of a build cache is kept at most", least=1, most=400 * 86400)
    ] = 30 * 86400
    build_cache_copies: Annotated[
        int, About("peers that take the content of an entry of a build cache, its writer among them", least=1, most=8)
    ] = 2
    record_cache_s: Annotated[
        float,
        About(
            "longest life of a record cached for reads with `one`; less than 1: none is cached, nor given to be",
            least=0,
            most=600,
        ),
    ] = 120.0
    unclaimed_grace_s: Annotated[
        float, About("how long content stays that nothing claims any more", least=0.1, most=YEAR_S)
    ] = 3600.0
    partial_grace_s: Annotated[
        float, About("how long what came of an interrupted fetch stays for the rest", least=0.1, most=YEAR_S)
    ] = DAY_S
    tombstone_grace_s: Annotated[
        float,
        About("absence up to which a peer is believed without asking about deletions", least=0.1, most=10 * YEAR_S),
    ] = 7 * DAY_S
    scrub_interval_s: Annotated[
        float, About("time in which everything kept is re-hashed once", least=0.1, most=10 * YEAR_S)
    ] = 30 * DAY_S
    disk_check_interval_s: Annotated[
        float, About("how often it is checked, by a small synced write, that the disk works", least=0.1, most=3600)
    ] = 2.0

    # Keeping the overlay whole
    members_max: Annotated[
        int, About("members up to which every peer keeps a contact of all, so that a look-up is one hop", least=16)
    ] = 256
    group_members_max: Annotated[
        int,
        About(
            "members of one address group (/24, /64; local addresses have none) that look-ups use; more only where "
            "all of that network are trusted, as in a lab of public addresses",
            least=1,
        ),
    ] = 10
    probe_interval_s: Annotated[float, About("pause between two probes of members", least=0.05, most=60)] = 1.0
    suspect_timeout_s: Annotated[
        float,
        About(
            "how long a silent member is suspected before it counts as dead, where others miss it too; "
            "up to half as long again where nobody else does",
            least=0.1,
            most=3600,
        ),
    ] = 8.0
    left_shown_s: Annotated[float, About("how long a member that said goodbye is listed as left", least=0)] = 600.0
    refresh_interval_s: Annotated[
        float, About("longest time a bucket goes without a look-up in its range", least=1, most=DAY_S)
    ] = 600.0
    republish_interval_s: Annotated[
        float, About("how often records and announcements of content are given to their holders anew", least=1)
    ] = 3600.0
    repair_interval_s: Annotated[
        float, About("how often the copies of what this peer holds are counted and restored", least=0.1, most=DAY_S)
    ] = 60.0
    audit_interval_s: Annotated[
        float,
        About("how often the others that hold keys of this peer have to prove that they do", least=0.1, most=DAY_S),
    ] = 60.0
    audit_share: Annotated[
        float,
        About(
            "which part of the keys shared with another it has to prove each time, chosen by chance", least=0, most=1
        ),
    ] = 0.0625
    lock_lease_s: Annotated[
        float, About("how long a lock is held without being renewed; its holder lets go a little earlier", least=0.5)
    ] = 15.0
    leave_timeout_s: Annotated[float, About("longest time for handing over when stopped", least=0, most=3600)] = 10.0

    # Work at a time
    request_timeout_s: Annotated[
        float, About("longest wait for one reply; measured round trips make it shorter", least=0.05, most=60)
    ] = 2.0
    lookup_timeout_s: Annotated[float, About("longest time for one look-up", least=0.1, most=600)] = 10.0
    transfer_timeout_s: Annotated[
        float, About("how long a connection that moves content may stand still", least=0.1, most=600)
    ] = 10.0
    sessions_max: Annotated[int, About("sealed sessions with other peers kept open", least=16)] = 4096
    handshakes_per_s: Annotated[
        float, About("handshakes answered a second; members known have half as many more", least=1)
    ] = 400.0
    group_handshakes_per_s: Annotated[
        float, About("handshakes answered a second of one address group (/24, /64; one address of a LAN)", least=1)
    ] = 20.0
    requests_per_s: Annotated[
        float, About("look-ups a second that each member has answered in any case; 16 times as many at most", least=1)
    ] = 256.0
    connections_max: Annotated[int, About("TCP connections with other peers at a time", least=2)] = 128
    limit_up_bytes_per_s: Annotated[
        int | None, About("content sent to others, `10MB` a second", flag="--limit-up RATE", default="none", least=4096)
    ] = None
    limit_down_bytes_per_s: Annotated[
        int | None,
        About("content fetched from others, `10MB` a second", flag="--limit-down RATE", default="none", least=4096),
    ] = None
    upload_slots: Annotated[
        int, About("large blocks sent at a time, over all connections; whoever was served longest ago is next", least=1)
    ] = 3
    api_connections_max: Annotated[int, About("connections to the local API at a time", least=2)] = 256
    gateway_connections_max: Annotated[
        int, About("connections to the gateway at a time, of one address a quarter of them", least=4)
    ] = 256

    # Logs
    log_level: Annotated[LogLevel, About("least severity that is logged", flag="--log-level LEVEL")] = "info"
    log_format: Annotated[LogFormat, About("form of the log on standard error", flag="--log-format FORMAT")] = "text"

    @property
    def listen_on(self) -> tuple[HostPort, ...]:
        """The addresses to bind: the one that was set, and its IPv6 twin where that is every IPv4 address.

        The twin is to be left out on hosts without IPv6.
        """
        if self.listen.host == "0.0.0.0":  # noqa: S104
            return (self.listen, HostPort("::", self.listen.port))
        return (self.listen,)

    def quota_of(self, filesystem_bytes: int) -> int:
        """Return the quota in bytes, on a file system of the given size."""
        return filesystem_bytes // QUOTA_SHARE if self.quota_bytes is None else self.quota_bytes


LATER = {
    "coordinator": "--coordinator URL",
}
"""Settings of parts that this version has not: refused by name, so that nobody believes they work."""

"""One host of a libtorrent swarm: `python -m tests.bench.rivals.libtorrent_swarm seed|get PATH INTO HOST:PORT...`.

A seed makes the torrent of PATH beside it and says `seeding`. A getter says `ready`, waits for a line, adds the torrent
PATH with all addresses as its peers, and says `done` when all of it is there. Defaults but for what looks for others,
which they are told, and what throttles hosts that have one connection for each of many torrents.
"""

import sys
import time
from pathlib import Path
from typing import Any

import libtorrent as lt

_PIECE_BYTES = 1024 * 1024
_POLL_S = 0.01
_SETTINGS: Any = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "connection_speed": 200,
    # TCP: over loopback its own protocol over UDP is ten times slower.
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "alert_mask": 0,
}


def main() -> None:
    """Run until killed."""
    role, path, into, peers = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    session = lt.session(_SETTINGS | {"listen_interfaces": "0.0.0.0:6881"})
    if role == "seed":
        _add(session, _torrent(path), into, seed=True)
        print("seeding", flush=True)
        while True:
            time.sleep(1)
    print("ready", flush=True)
    sys.stdin.readline()
    handle = _add(session, lt.torrent_info(str(path)), into, seed=False)
    for peer in peers:
        host, _, port = peer.rpartition(":")
        handle.connect_peer((host, int(port)))
    while not handle.status().is_seeding:
        time.sleep(_POLL_S)
    print("done", flush=True)
    while True:
        time.sleep(1)


def _add(session: Any, info: Any, into: Path, *, seed: bool) -> Any:
    parameters = lt.add_torrent_params()
    parameters.ti = info
    parameters.save_path = str(into)
    flags = lt.torrent_flags
    parameters.flags &= ~(flags.paused | flags.auto_managed)
    if seed:
        parameters.flags |= flags.seed_mode
    return session.add_torrent(parameters)


def _torrent(path: Path) -> Any:
    storage = lt.file_storage()
    lt.add_files(storage, str(path))
    made = lt.create_torrent(storage, _PIECE_BYTES, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, str(path.parent))
    torrent = path.with_suffix(".torrent")
    torrent.write_bytes(lt.bencode(made.generate()))
    return lt.torrent_info(str(torrent))


if __name__ == "__main__":
    main()

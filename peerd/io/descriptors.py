"""How many files and sockets this process may have open, and who gets how many of them.

Strangers may open as many connections as the settings let them: where the system allows fewer descriptors than that,
connections would leave none for the store, and a file that cannot be opened looks like a disk that fails. So the
settings are lowered at the start, and what is kept back stays free.
"""

import resource

import msgspec
from loguru import logger

from peerd.config import Settings

# The store's files and threads, the datagram sockets, mDNS on some interfaces, the log.
KEPT_BACK = 64
# A part of what is left for connections with peers, one for the API on all its addresses and the gateway; as much again
# stays free for streams that have not done their handshake, and for those that are told to go.
PARTS = 3
# However few there are, a peer can be talked to.
LEAST = 4


def ask_for_enough(settings: Settings) -> None:
    """Have the system let this process open as many files as the settings may need, as far as it lets us ask."""
    wanted = KEPT_BACK + PARTS * max(settings.connections_max, settings.api_connections_max * _addresses(settings))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fitted(settings: Settings, limit: int | None = None) -> Settings:
    """Return the settings with no more connections than `limit` descriptors let be (those of this process)."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return settings
    part = max(0, limit - KEPT_BACK) // PARTS
    peers = min(settings.connections_max, max(LEAST, part))
    for_api = max(LEAST, part // _addresses(settings))
    api = min(settings.api_connections_max, for_api)
    gateway = min(settings.gateway_connections_max, for_api) if settings.gateway else settings.gateway_connections_max
    given = (settings.connections_max, settings.api_connections_max, settings.gateway_connections_max)
    if (peers, api, gateway) == given:
        return settings
    logger.warning("few files may be open at a time: fewer connections are taken", limit=limit, peers=peers, api=api)
    return msgspec.structs.replace(
        settings, connections_max=peers, api_connections_max=api, gateway_connections_max=gateway
    )


def _addresses(settings: Settings) -> int:
    return max(1, len(settings.api) + (settings.gateway is not None))

"""The numeric addresses of a host name, for bootstrap: names are looked up anew each time they are needed."""

import asyncio
import ipaddress

from loguru import logger

from peerd.kad.contact import Address


async def resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    """Return the numeric addresses of a host name; none where it has none now."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [(host, port)]
    try:
        found = await loop.getaddrinfo(host, port)
    except OSError as error:
        logger.warning("a bootstrap name has no address now", host=host, reason=str(error))
        return []
    return list(dict.fromkeys((str(info[4][0]), int(info[4][1])) for info in found))

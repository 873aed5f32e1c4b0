"""Settings: what an operator can change, where the values come from, and what is said of a wrong one.

`Settings` is the table; `load` fills it from flags, environment and file. Not here: options of single commands,
and the numbers of the protocol, which are no settings because all peers must agree on them.
"""

from peerd.config.address import ApiAddress, HostPort, UnixAddress, parse_api_address, parse_host_port
from peerd.config.load import Loaded, load
from peerd.config.secret import read_network_key, read_passphrase
from peerd.config.table import Settings
from peerd.config.units import format_size, parse_size

__all__ = [
    "ApiAddress",
    "HostPort",
    "Loaded",
    "Settings",
    "UnixAddress",
    "format_size",
    "load",
    "parse_api_address",
    "parse_host_port",
    "parse_size",
    "read_network_key",
    "read_passphrase",
]

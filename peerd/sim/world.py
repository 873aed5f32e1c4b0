"""A simulated world: hosts, the network between them, and who of them runs.

Above SIGNED_MAX peers signatures are the stand-in of `identity`, which every report names.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from peerd.config import HostPort, Settings
from peerd.identity import ED25519, STAND_IN, Suite
from peerd.ids import network_id
from peerd.kad.contact import Address
from peerd.node.peer import Peer
from peerd.sim.chance import Chance
from peerd.sim.faults import Faults
from peerd.sim.host import Host
from peerd.sim.loop import VirtualLoop, waiting_tasks
from peerd.sim.network import Network
from peerd.sim.streams import Ports

SIGNED_MAX = 500
PORT = 7433
OVERLAY = "simulation"
# Through how many of the first hosts the others join, and how many of those each is told.
BOOTSTRAP_HOSTS = 5
BOOTSTRAP_TOLD = 2
QUOTA_BYTES = 2**30
HOSTS_MAX = 60_000


class World:
    """Everything that is simulated, from one seed."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        seed: int,
        expected: int,
        faults: Faults | None = None,
        settings: dict[str, Any] | None = None,
        signed: bool = True,
    ) -> None:
        self.loop = loop
        self.chance = Chance(seed)
        self.faults = faults or Faults()
        self.suite: Suite = ED25519 if signed and expected <= SIGNED_MAX else STAND_IN
        self.network = Network(loop, self.chance, self.faults)
        self.hosts: list[Host] = []
        self.by_id: dict[str, Host] = {}
        self._ports = Ports(self.network)
        self.overlay = network_id(OVERLAY)
        self._rng = self.chance.rng("world")
        self._settings = Settings(
            **{"data": Path("data"), "mdns": False, "quota_bytes": QUOTA_BYTES, **(settings or {})}
        )

    @property
    def living(self) -> list[Host]:
        """The hosts on which a peer runs, in order."""
        return [host for host in self.hosts if host.lives]

    @property
    def answering(self) -> list[Host]:
        """Those of them that do not stand still."""
        return [host for host in self.hosts if host.answers]

    @property
    def honest(self) -> list[Host]:
        """The hosts on which a peer runs that was not made to lie: they alone are asked and judged."""
        return [host for host in self.hosts if host.lives and host.outfit is None]

    def honest_of(self, ids: Iterable[str]) -> list[Host]:
        """Return those of these peers that are honest and run, in order."""
        hosts = (self.by_id[each] for each in ids)
        return sorted((host for host in hosts if host.lives and host.outfit is None), key=lambda host: host.index)

    @property
    def has_liars(self) -> bool:
        """Whether anybody lies."""
        return any(host.outfit is not None for host in self.hosts)

    def add(
        self, outfit: Callable[[Peer], None] | None = None, address: Address | None = None, seed: bytes | None = None
    ) -> Host:
        """Return a new host, on which nothing runs yet.

        `outfit` is done to each peer that was started here, and makes it a liar. `address` and `seed` (32 bytes, of its
        key) stand in place of those that follow from its number.
        """
        index = len(self.hosts)
        assert index < HOSTS_MAX, "addresses run out"
        address = address or (f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", PORT)
        told = self.hosts[:BOOTSTRAP_HOSTS]
        if len(told) > BOOTSTRAP_TOLD:
            told = self._rng.sample(told, BOOTSTRAP_TOLD)
        host = Host(
            index,
            address,
            network=self.network,
            ports=self._ports,
            chance=self.chance,
            faults=self.faults,
            suite=self.suite,
            overlay=self.overlay,
            settings=replace(
                self._settings, listen=HostPort(*address), bootstrap=tuple(HostPort(*each.address) for each in told)
            ),
            seed=seed,
            outfit=outfit,
        )
        self.hosts.append(host)
        self.by_id[host.id_text] = host
        return host

    def introduce(self, host: Host) -> None:
        """Configure others for a host that was there before them: who is started again knows where to ask."""
        if not host.settings.bootstrap:
            others = [HostPort(*each.address) for each in self.hosts[:BOOTSTRAP_HOSTS] if each is not host]
            host.settings = replace(host.settings, bootstrap=tuple(others[:BOOTSTRAP_TOLD]))

    async def join(self) -> Host:
        """Add a host and start a peer on it."""
        host = self.add()
        await host.start()
        return host

    def set_faults(self, faults: Faults) -> None:
        """Change what the network does from now on; disks and clocks stay as they were made."""
        self.faults = self.network.faults = faults

    async def lights_out(self) -> list[str]:
        """End everything at once, unseen by anybody; return what still runs then, though it should not."""
        living = self.living
        for host in self.hosts:
            host.go_on()
            host.interface.stop()
        for host in living:
            await host.crash(power=False)
        await asyncio.sleep(0)
        return waiting_tasks(self.loop, but=asyncio.current_task())

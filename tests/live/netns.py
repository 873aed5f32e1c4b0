"""Hosts on a LAN of their own, on one machine: network namespaces, with the faults of real networks on demand.

The switch lives in a namespace of its own too, so the machine's interfaces, routes and rules stay untouched and
nothing reaches outside. Faults are made in the switch and are invisible to the hosts, as real ones are. Needs root,
`ip` (iproute2), `nft`, and `tc` for rates. Not a simulator: real sockets, real time.

    with Net(3) as net:
        alice, bob, carol = net.hosts
        daemon = alice.popen(["peerd", "run"], env={"PEERD_DATA": "/tmp/a"})
        net.partition([alice], [bob, carol])
        net.heal()

or the fixture `netns` of this module, a factory: `net = netns(3)`. Host i of LAN n has 10.77.n.(i+1)/24 and
fd77:0:0:n::(i+1)/64. On leaving, processes are ended by their ids and the namespaces go, also after a failure; what
a killed run left behind is swept by the next one, by the id of the process that made it.
"""

import atexit
import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import IO, Any

import pytest

HOSTS_MAX = 250
LANS_MAX = 16
COMMAND_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0

_PREFIX = "peerdtest-"
_MDNS_PORT = 5353
_TOOLS = ("ip", "nft")
_numbers = itertools.count()

# Each fault has a chain or a map of its own, so that making or mending one leaves the others as they are.
# Priority filter (-200): where the kernel's br_netfilter is on, packets that it took skip the chains of priority 0.
_RULES = """
table bridge lab {
    map cut { type ifname . ifname : verdict; }
    set no_mdns { type ifname; }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname . oifname vmap @cut
        iifname @no_mdns udp dport 5353 drop
        oifname @no_mdns udp dport 5353 drop
        jump lossy
        jump narrow
    }
    chain lossy { }
    chain narrow { }
}
"""


def why_not() -> str | None:
    """Return why hosts cannot be made on this machine, or None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = f"{_PREFIX}{os.getpid()}-probe{next(_numbers)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespaces here: {made.stderr.strip()}"
    checked = subprocess.run(
        ["ip", "netns", "exec", probe, "nft", "add table bridge probe"], capture_output=True, text=True, check=False
    )
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return f"nft cannot filter bridges here: {checked.stderr.strip()}" if checked.returncode != 0 else None


@dataclass(eq=False)
class Host:
    """One machine on the LAN. Commands run in it see its interfaces alone, and this machine's files."""

    net: "Net"
    index: int
    namespace: str
    ports: dict[int, str] = field(default_factory=dict)
    """Its ports in the switch, by LAN; on the host's side the interface of LAN n is eth<n>."""

    @property
    def name(self) -> str:
        """A short name for messages and files: h0, h1, …"""
        return f"h{self.index}"

    @property
    def address(self) -> str:
        """Its IPv4 address on the first LAN it is on."""
        return self.address_on(min(self.ports))

    @property
    def address6(self) -> str:
        """Its IPv6 address on the first LAN it is on."""
        return self.address6_on(min(self.ports))

    def address_on(self, lan: int) -> str:
        """Return its IPv4 address on LAN `lan`."""
        return f"10.77.{lan}.{self.index + 1}"

    def address6_on(self, lan: int) -> str:
        """Return its IPv6 address on LAN `lan`, in its shortest form."""
        return str(IPv6Address(f"fd77:0:0:{lan:x}::{self.index + 1:x}"))

    def popen(
        self, command: Sequence[str | os.PathLike[str]], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start `command` in this host, in a session of its own; it is killed when the net closes.

        `env` is added to this process's. `options` are subprocess.Popen's.
        """
        options.setdefault("start_new_session", True)
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *(os.fspath(word) for word in command)],
            env={**os.environ, **(env or {})},
            **options,
        )
        self.net.processes.append(process)
        return process

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = COMMAND_TIMEOUT_S,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in this host to its end and return its output as text.

        Raises CalledProcessError with its standard error in the message where it failed and `check` is set.
        """
        options.setdefault("capture_output", True)
        done: subprocess.CompletedProcess[str] = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *(os.fspath(word) for word in command)],
            env={**os.environ, **(env or {})},
            timeout=timeout,
            text=True,
            check=False,
            **options,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {command!r} ended with {done.returncode}: {done.stderr}\n{done.stdout}")
        return done

    def ip(self, *batch: str) -> None:
        """Change this host's own interfaces, addresses or routes: lines for `ip -batch`."""
        _ip(self.namespace, *batch)

    def unplug(self, lan: int | None = None) -> None:
        """Pull its cables out (or the one of `lan`): it sees the carrier go, its addresses stay."""
        self._link("down", lan)

    def plug(self, lan: int | None = None) -> None:
        """Put them back."""
        self._link("up", lan)

    def limit(self, rate: str | None, *, lan: int | None = None, burst: str = "16kb") -> None:
        """Hold what it sends and what it is sent to `rate` each ('8mbit'); None lifts it.

        A `burst` of 64 KiB and more lets segments pass that the kernel has not cut up yet, which costs a tenth of the
        CPU, and does not count the headers that they would have had.
        """
        for number, port in self.ports.items():
            if lan not in (None, number):
                continue
            for namespace, device in ((self.net.switch, port), (self.namespace, f"eth{number}")):
                if rate is None:
                    _run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"], check=False)
                else:
                    shape = ["root", "tbf", "rate", rate, "burst", burst, "latency", "200ms"]
                    _run(["tc", "-n", namespace, "qdisc", "replace", "dev", device, *shape])

    def _link(self, state: str, lan: int | None) -> None:
        _ip(
            self.net.switch,
            *(f"link set {port} {state}" for number, port in self.ports.items() if lan in (None, number)),
        )


class Net:
    """`hosts` machines on one LAN, made on entering and gone on leaving."""

    def __init__(self, hosts: int = 2) -> None:
        assert 0 <= hosts <= HOSTS_MAX
        # The id of the making process is in the name: a later run can tell leftovers from what others run now.
        self._run = f"{_PREFIX}{os.getpid()}-{next(_numbers)}{secrets.token_hex(2)}"
        self.switch = f"{self._run}-sw"
        self.hosts: list[Host] = []
        self.processes: list[subprocess.Popen[Any]] = []
        self._wanted = hosts
        self._lans = 0
        self._namespaces: list[str] = []

    def __enter__(self) -> "Net":
        sweep()
        atexit.register(self.close)
        try:
            self._add_namespace(self.switch)
            self.nft(_RULES)
            for _ in range(self._wanted):
                self.add_host()
            self.add_lan(self.hosts)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_host(self, *lans: int) -> Host:
        """Add one more host, on the LANs given; it can come at any time."""
        index = len(self.hosts)
        assert index < HOSTS_MAX
        host = Host(self, index, f"{self._run}-h{index}")
        self._add_namespace(host.namespace)
        self.hosts.append(host)
        for lan in lans:
            self._attach(lan, [host])
        return host

    def add_lan(self, hosts: Sequence[Host]) -> int:
        """Add one more LAN with `hosts` on it, by an interface more each; return its number."""
        lan = self._lans
        assert lan < LANS_MAX
        self._lans += 1
        _ip(
            self.switch,
            # Without a querier on the LAN, snooping would only add chance to what multicast reaches.
            f"link add br{lan} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set br{lan} up",
        )
        self._attach(lan, hosts)
        return lan

    def partition(self, *sides: Sequence[Host]) -> None:
        """Cut every pair of hosts that are on different sides, both ways; hosts on no side reach all."""
        for one, other in itertools.combinations(sides, 2):
            pairs = [(a, b) for a in one for b in other]
            self._cut([*pairs, *((b, a) for a, b in pairs)])

    def cut(self, sender: Host, receiver: Host) -> None:
        """Lose whatever `sender` sends to `receiver`; the other way stays whole."""
        self._cut([(sender, receiver)])

    def heal(self) -> None:
        """Mend every partition and cut."""
        self.nft("flush map bridge lab cut")

    def unplug(self, *hosts: Host) -> None:
        """Pull the cables of `hosts` out."""
        for host in hosts:
            host.unplug()

    def plug(self, *hosts: Host) -> None:
        """Put the cables of `hosts` back."""
        for host in hosts:
            host.plug()

    def block_mdns(self, *hosts: Host) -> None:
        """Lose mDNS (UDP 5353) from and to `hosts`, or everybody's where none is named."""
        ports = ", ".join(port for host in hosts or self.hosts for port in host.ports.values())
        self.nft(f"add element bridge lab no_mdns {{ {ports} }}")

    def allow_mdns(self) -> None:
        """Let mDNS through again."""
        self.nft("flush set bridge lab no_mdns")

    def loss(self, permille: int) -> None:
        """Lose that many of a thousand packets, by chance; 0 ends it."""
        self._fault(
            "lossy", "drop" if permille >= 1000 else f"numgen random mod 1000 < {permille} drop" if permille else ""
        )

    def largest_packet(self, size_bytes: int | None) -> None:
        """Lose packets larger than that without a word, as a path with a small MTU and no ICMP does."""
        self._fault("narrow", f"meta length > {size_bytes} drop" if size_bytes else "")

    def nft(self, commands: str) -> str:
        """Give commands to the switch's nft; its table is `bridge lab`, hooks in `forward`. Return the output."""
        return _run(["ip", "netns", "exec", self.switch, "nft", "-f", "-"], text=commands)

    def close(self) -> None:
        """End every process in the hosts, then remove them and the switch."""
        atexit.unregister(self.close)
        _end(self.processes)
        self.processes.clear()
        for namespace in self._namespaces:
            _remove(namespace)
        self._namespaces.clear()
        self.hosts.clear()

    def _add_namespace(self, name: str) -> None:
        self._namespaces.append(name)
        _run(["ip", "netns", "add", name])
        _ip(name, "link set lo up")

    def _attach(self, lan: int, hosts: Sequence[Host]) -> None:
        in_switch: list[str] = []
        for host in hosts:
            port, device = f"p{lan}-{host.index}", f"eth{lan}"
            in_switch += [
                f"link add {port} type veth peer name {device} netns {host.namespace}",
                f"link set {port} master br{lan}",
                f"link set {port} up",
            ]
            host.ports[lan] = port
        _ip(self.switch, *in_switch)
        for host in hosts:
            device = f"eth{lan}"
            host.ip(
                f"link set {device} up",
                f"addr add {host.address_on(lan)}/24 brd + dev {device}",
                f"addr add {host.address6_on(lan)}/64 dev {device} nodad",
                *([f"route add 224.0.0.0/4 dev {device}"] if lan == min(host.ports) else []),
            )

    def _cut(self, pairs: Sequence[tuple[Host, Host]]) -> None:
        ways = {
            f'"{a.ports[lan]}" . "{b.ports[lan]}" : drop'
            for a, b in pairs
            for lan in a.ports
            if lan in b.ports and a is not b
        }
        if ways:
            self.nft(f"add element bridge lab cut {{ {', '.join(sorted(ways))} }}")

    def _fault(self, chain: str, rule: str) -> None:
        self.nft(f"flush chain bridge lab {chain}\n" + (f"add rule bridge lab {chain} {rule}\n" if rule else ""))


@pytest.fixture
def netns() -> Iterator[Any]:
    """Make nets of hosts for one test: `netns(3)` is a Net of three; the test is skipped where it cannot be."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        yield lambda hosts=2: stack.enter_context(Net(hosts))


def sweep() -> None:
    """Remove namespaces that earlier runs of this kit left because they were killed."""
    listed = json.loads(_run(["ip", "-j", "netns", "list"], check=False) or "[]")
    for name in (entry["name"] for entry in listed):
        maker = name.removeprefix(_PREFIX).split("-")[0]
        if name.startswith(_PREFIX) and maker.isdigit() and not Path("/proc", maker).exists():
            _remove(name)


def _ip(namespace: str, *batch: str) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], text="\n".join(batch) + "\n")


def _run(command: Sequence[str], *, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}\n{text or ''}")
    return done.stdout


def _end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Its own session, unless the caller said otherwise: then its group is ours, and only it must go.
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
        _close(process.stdin, process.stdout, process.stderr)


def _close(*files: IO[Any] | None) -> None:
    for file in files:
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                file.close()


def _remove(namespace: str) -> None:
    # Whatever still runs in it was started by a test in it: no other process can have come in.
    for pid in _run(["ip", "netns", "pids", namespace], check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _run(["ip", "netns", "del", namespace], check=False)

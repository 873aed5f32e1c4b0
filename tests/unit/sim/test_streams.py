import asyncio

import pytest

from peerd.errors import UnreachableError
from peerd.ids import PeerId
from peerd.sim.chance import Chance
from peerd.sim.faults import Faults
from peerd.sim.network import Network
from peerd.sim.streams import STALL_MAX_S, WINDOW_BYTES, Ports

KEY = PeerId(bytes(32))


async def _nothing(stream):
    pass


class _Pair:
    """Two hosts and a stream between them, `near` at host 0."""

    @classmethod
    async def open(cls, loop, **faults):
        pair = cls()
        pair.loop = loop
        pair.network = Network(loop, Chance(1), Faults(**faults))
        pair.hosts = [pair.network.attach(index, (f"10.0.0.{index}", 7433)) for index in range(2)]
        for host in pair.hosts:
            host.start()
        pair.ports = Ports(pair.network)
        pair.ports.listen(pair.hosts[1].address, KEY, _nothing)
        pair.near, pair.far, _ = await pair.ports.connect(pair.hosts[0], pair.hosts[1].address)
        return pair


def test_bytes_come_whole_and_in_order_over_a_bad_network(run):
    async def work(loop):
        pair = await _Pair.open(loop, loss=0.2, jitter_ms=20)
        data = bytes(range(256)) * 4000
        _, got = await asyncio.gather(pair.near.write(data), pair.far.read_exactly(len(data)))
        return got == data

    assert run(work)


def test_a_writer_waits_for_a_reader_that_does_not_read(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        writing = loop.create_task(pair.near.write(bytes(3 * WINDOW_BYTES)))
        await asyncio.sleep(100)
        before = writing.done()
        await pair.far.read_exactly(3 * WINDOW_BYTES)
        await writing
        return before

    assert run(work) is False


def test_the_end_comes_after_what_was_written(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        await pair.near.write(b"last words")
        pair.near.close()
        assert await pair.far.read_exactly(10) == b"last words"
        with pytest.raises(UnreachableError):
            await pair.far.read_exactly(1)
        with pytest.raises(UnreachableError):
            await pair.far.write(b"x")

    run(work)


def test_closing_ends_ones_own_read(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        loop.call_later(1, pair.near.close)
        with pytest.raises(UnreachableError):
            await pair.near.read_exactly(1)

    run(work)


def test_a_short_cut_only_delays(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        pair.network.part([pair.hosts[:1], pair.hosts[1:]])
        loop.call_later(STALL_MAX_S / 2, pair.network.heal)
        began_at = loop.time()
        await pair.near.write(b"late")
        assert await pair.far.read_exactly(4) == b"late"
        return loop.time() - began_at

    assert STALL_MAX_S / 2 <= run(work) < STALL_MAX_S


def test_a_long_cut_breaks_the_end_that_sends(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        pair.network.cut(pair.hosts[1], pair.hosts[0])
        await pair.near.write(b"lost")
        with pytest.raises(UnreachableError):
            await pair.near.read_exactly(1)

    run(work)


def test_a_host_that_is_back_resets_connections_of_its_earlier_life(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        pair.hosts[1].stop()
        await pair.near.write(b"into the dark")
        loop.call_later(5, pair.hosts[1].start)
        began_at = loop.time()
        with pytest.raises(UnreachableError):
            await pair.near.read_exactly(1)
        return loop.time() - began_at

    assert 5 <= run(work) < STALL_MAX_S


def test_a_closed_port_refuses(run):
    async def work(loop):
        pair = await _Pair.open(loop)
        await pair.ports.open[pair.hosts[1].address].close()
        with pytest.raises(UnreachableError, match="refused"):
            await pair.ports.connect(pair.hosts[0], pair.hosts[1].address)

    run(work)

import os
import signal

from peerd.lab.process import Process, find, is_alive, send


def test_a_process_is_itself_for_as_long_as_it_lives() -> None:
    ourselves = find(os.getpid())
    assert ourselves is not None
    assert ourselves == find(os.getpid())
    assert is_alive(ourselves)


def test_another_process_with_the_same_id_is_not_it_and_gets_no_signal() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    try:
        earlier = Process(os.getpid(), "before the last boot")
        assert not is_alive(earlier)
        assert not send(earlier, signal.SIGUSR1)
        assert got == []
        ourselves = find(os.getpid())
        assert ourselves is not None
        assert send(ourselves, signal.SIGUSR1)
        assert got == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_process_that_never_was_is_not_there() -> None:
    pid = 2**22 + 1  # above what Linux gives
    assert find(pid) is None
    assert not send(Process(pid, ""), signal.SIGTERM)

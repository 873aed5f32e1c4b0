"""Where few files may be open, fewer connections are taken, and some stay free for the store."""

import resource
from pathlib import Path

import pytest

from peerd.config import Settings
from peerd.config.address import HostPort, UnixAddress
from peerd.io.descriptors import KEPT_BACK, fitted


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, api=(UnixAddress(tmp_path / "api.sock"), HostPort("127.0.0.1", 0)))


def test_where_there_are_enough_the_settings_stay(settings: Settings) -> None:
    assert fitted(settings, 4096) is settings
    assert fitted(settings, resource.RLIM_INFINITY) is settings


@pytest.mark.parametrize("limit", [64, 128, 256, 512, 1024])
def test_all_connections_together_leave_some_for_the_store(settings: Settings, limit: int) -> None:
    few = fitted(settings, limit)
    waiting = few.connections_max // 2

    assert few.connections_max + waiting + 2 * few.api_connections_max <= max(limit - KEPT_BACK, 16)
    assert few.connections_max >= 4 <= few.api_connections_max

"""What the daemons of a live test have logged is shown when it fails."""

from collections.abc import Iterator

import pytest

from tests.live import daemons


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in daemons.current():
            report.sections.append((f"log of {daemon.name} {daemon.id[:10]}", daemon.log[-daemons.TAIL_BYTES :]))

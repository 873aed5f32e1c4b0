"""Starting the daemon with settings that are known: logs, event loop, and the catch-all of the process."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from peerd.config import Loaded
from peerd.errors import PeerdError

if TYPE_CHECKING:
    import asyncio

EXIT_FAILED = 1


def start(loaded: Loaded) -> int:
    """Run a peer until it is told to stop, and return its exit status; raises PeerdError where it cannot start."""
    # Here and not above: these take ten times as long to import as everything else in this file.
    import asyncio  # noqa: PLC0415

    from loguru import logger  # noqa: PLC0415

    from peerd import daemon, logs  # noqa: PLC0415

    logs.setup(loaded.settings.log_level, loaded.settings.log_format)
    for warning in loaded.warnings:
        logger.warning("setting ignored", reason=warning)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(daemon.run(loaded.settings, loaded.file))
    except PeerdError:
        raise
    except Exception:  # noqa: BLE001  the one catch-all: whatever it was, it is logged with its trace
        logger.exception("stopped by a fault of peerd")
        return EXIT_FAILED


def _loop_factory() -> Callable[[], "asyncio.AbstractEventLoop"] | None:
    """Return what makes uvloop's event loop; None, which means asyncio's own, where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

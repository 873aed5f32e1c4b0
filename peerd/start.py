"""Starting the daemon with settings that are known: logs, event loop, and the catch-all of the process."""

import resource
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

    leave_no_core()
    logs.setup(loaded.settings.log_level, loaded.settings.log_format)
    for warning in loaded.warnings:
        logger.warning("setting ignored", reason=warning)
    # Before the loop runs, which would take a person's Ctrl-C for the daemon's.
    passphrase = _typed(loaded)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(daemon.run(loaded.settings, loaded.file, passphrase))
    except PeerdError:
        raise
    except Exception:  # noqa: BLE001  the one catch-all: whatever it was, it is logged with its trace
        logger.exception("stopped by a fault of peerd")
        return EXIT_FAILED


def leave_no_core() -> None:
    """Have no core of this process written when it crashes: the keys of the peer would be in it."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _typed(loaded: Loaded) -> bytes | None:
    """Return the passphrase of a protected identity from the terminal; None where the settings name its file."""
    from peerd.io import passphrase  # noqa: PLC0415
    from peerd.io.identity_file import IdentityFile  # noqa: PLC0415

    settings = loaded.settings
    if settings.passphrase_file is not None or not passphrase.has_terminal():
        return None
    if not IdentityFile(settings.data).is_protected():
        return None
    return passphrase.ask("passphrase of the identity")


def _loop_factory() -> Callable[[], "asyncio.AbstractEventLoop"] | None:
    """Return what makes uvloop's event loop; None, which means asyncio's own, where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

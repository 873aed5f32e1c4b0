"""What is known here of some content, whatever becomes of our disk."""

from loguru import logger

from peerd.errors import StoreError
from peerd.io.store.interface import Root
from peerd.node.core import Core


async def root_here(core: Core, raw: bytes) -> Root | None:
    """Return what is known here of some content; a disk of ours that fails is no reason not to ask the others."""
    try:
        return await core.store.root(raw)
    except StoreError as error:
        logger.warning("content cannot be looked up here", reason=str(error))
        return None

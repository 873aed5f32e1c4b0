"""The store's calls on registers, on disk. The rows are `register_table`'s."""

from functools import partial

from peerd.ids import Key
from peerd.io.store import register_table
from peerd.io.store.handover import Handover


class SqliteRegisters(Handover):
    """See `Store`."""

    def may_have_register(self, key: Key) -> bool:
        """See `Store.may_have_register`."""
        return self._register_keys.may_hold(key)

    async def register(self, key: Key) -> bytes | None:
        """See `Store.register`."""
        if not self._register_keys.may_hold(key):
            self._require_open()
            return None
        return await self._read("reading a register", partial(register_table.get, key=key))

    async def put_register(self, key: Key, state: bytes, *, only_if: bytes | None) -> bool:
        """See `Store.put_register`."""

        def applied(outcome: register_table.PutOutcome) -> None:
            if outcome.is_new:
                self._register_keys.add(key)

        put = partial(register_table.put, room=self._room, key=key, state=state, only_if=only_if)
        return (await self._write("writing a register", put, applied=applied)).done

    async def registers(self, after: Key | None, limit: int) -> list[tuple[Key, bytes]]:
        """See `Store.registers`."""
        return await self._read("reading registers", partial(register_table.page, after=after, limit=limit))

"""The daemon's verbs in straight `async def`: join, put, get, remove, maintain; and the Peer that owns them."""

"""Bytes to values and back: datagrams, handshake, sealed sessions, messages, frames. No sockets here."""

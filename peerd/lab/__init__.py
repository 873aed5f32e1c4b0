"""The local multi-peer harness: real daemons on this machine, for trying things out and for tests."""

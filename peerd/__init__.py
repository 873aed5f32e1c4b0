"""peerd turns the machines of one network into a replicated, verified content store, with no server."""

__version__ = "0.1.0"

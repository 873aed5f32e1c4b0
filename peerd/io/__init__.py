"""The host: sockets, files, SQLite, mDNS, the clock and chance. What a node is given of it: environment."""

"""The local HTTP API: what `peer`, scripts, build tools and browsers on this host talk to (INTERFACE.md, "HTTP").

Not here: what the operations do (node) and how peers talk to each other (io, wire). `server.ApiServer` is the way in;
this file imports nothing, so that naming the package costs nothing.
"""

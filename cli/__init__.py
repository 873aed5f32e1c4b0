"""The command line `peer`: a client of the daemon's local API that imports nothing of the daemon.

Start time is a feature (a `peer get` of a short value, whole process, at most 60 ms), so everything here is imported
late, and the modules that `put get cat ls stat` need import neither click, rich, typing nor an HTTP library.
"""

"""The local harness: several real daemons on one machine, started, cut apart, killed and ended at will.

`python -m peerd.lab` (as users know it, `peer lab`) and the pytest fixture `peer_lab` are thin layers on `lab.Lab`.
Nothing is simulated here but partitions, which the daemons' drop lists make; for thousands of peers see peerd.sim.
Imports nothing by itself: pytest loads this package in every run of whoever has peerd installed.
"""

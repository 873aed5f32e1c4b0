"""The simulator: the daemon's own code on a virtual clock and a simulated network, thousands of peers in one process.

Everything comes from one seed: the same seed gives the same trace, whatever PYTHONHASHSEED is (DESIGN.md 11). Here are
the clock (loop), chance, the network, the hosts and what can befall them; the peers themselves are `peerd.node`, the
stores `peerd.io.store.memory`.
"""

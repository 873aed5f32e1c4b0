"""peerd measured beside its rivals, in one run on one machine; `python -m tests.bench` (docs/BENCHMARKS.md)."""

"""The implementations that are measured, each behind the same few calls of `tests.bench.subject`."""

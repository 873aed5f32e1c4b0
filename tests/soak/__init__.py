"""Programs that make faults for as long as they are let, on real daemons: `python -m tests.soak NAME`."""

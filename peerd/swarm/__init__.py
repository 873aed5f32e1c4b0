"""Moving content: which block to ask of which source. State machines without I/O."""

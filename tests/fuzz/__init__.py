"""Made-wrong bytes for everything that reads bytes: `make fuzz`. Each decoder ends in a value or in its own error."""

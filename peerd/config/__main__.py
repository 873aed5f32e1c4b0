"""`python -m peerd.config` prints docs/SETTINGS.md."""

import sys

from peerd.config.reference import reference

if __name__ == "__main__":
    sys.stdout.write(reference())

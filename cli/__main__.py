"""`python -m peerd_cli`: the same as the command `peer`."""

import sys

from .main import main

sys.exit(main())

"""`python -m tasksel`."""

import sys

from tasksel.cli import main

sys.exit(main())

"""`python -m tasksel`."""

import sys

from tasksel.cli.main import main

sys.exit(main())

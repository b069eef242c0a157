"""`python -m scalearn`, and what `accelerate launch -m scalearn` starts."""

import sys

from scalearn.cli.main import main

sys.exit(main())

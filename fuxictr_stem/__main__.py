"""``python -m fuxictr_stem``."""

import sys

from fuxictr_stem.cli import main

sys.exit(main())

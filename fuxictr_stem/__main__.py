"""``python -m fuxictr_stem``."""

import sys

from fuxictr_stem.cli import main

if __name__ == "__main__":
    sys.exit(main())

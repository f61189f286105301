"""Try to break the package: python -m perf.robustness [--only NAME ...] [--out FILE.json]."""

import sys

if __name__ == "__main__":
    # Not above: the processes that a topic starts read this file, too.
    from perf.robustness.cli import main

    sys.exit(main())

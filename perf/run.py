"""Measure this package against plain FuxiCTR: python perf/run.py [--quick] [--out FILE.json]."""

import sys
from pathlib import Path

# The folder that holds this package, not the package itself.
sys.path[0] = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    # Not above: the processes that measure read this file, too, and import only what they need.
    from perf.cli import main

    sys.exit(main())

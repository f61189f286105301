"""Compare experiments: python run_benchmark.py --config config/benchmark/NAME.yaml --out DIR [--jobs N]."""

import os
import sys

# As with run_expid.py, relative paths are relative to this file.
os.chdir(os.path.dirname(os.path.realpath(__file__)))

from fuxictr_stem.cli import command_line  # noqa: E402

if __name__ == "__main__":
    command_line(["benchmark", *sys.argv[1:]])

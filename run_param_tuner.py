"""Try settings of an experiment: python run_param_tuner.py --config FILE.yaml [--tag T] [--gpu 0 1 0]."""

import os
import sys

# As in FuxiCTR, relative paths are relative to this file.
os.chdir(os.path.dirname(os.path.realpath(__file__)))

from fuxictr_stem.cli import command_line  # noqa: E402

if __name__ == "__main__":
    command_line(["tune", *sys.argv[1:]])

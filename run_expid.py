"""Run one experiment id: python run_expid.py --expid STEMNet_tiktok [--config DIR] [--gpu N] [--resume]."""

import os
import sys

# As in FuxiCTR, relative paths are relative to this file.
os.chdir(os.path.dirname(os.path.realpath(__file__)))

from fuxictr_stem.cli import command_line  # noqa: E402

if __name__ == "__main__":
    command_line(["run", *sys.argv[1:]])

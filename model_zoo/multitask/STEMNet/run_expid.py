"""Run STEM-Net in a FuxiCTR checkout: python run_expid.py --expid STEMNet_test [--engine fuxictr]."""

import os

os.chdir(os.path.dirname(os.path.realpath(__file__)))

import sys  # noqa: E402

import fuxictr_version  # noqa: E402, F401
import src as model_zoo  # noqa: E402

from fuxictr_stem.fuxictr_entry import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(model_zoo))

"""The commands on caches, called in this process, and what they say."""

import re

import h5py

from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache.open_cache import open_cache


def opened(expid="toy_test"):
    """Open the cache of an experiment."""
    return open_cache(load_experiment("config", expid))


def cache(*args):
    """Call a command on the caches of the config; return its exit code."""
    return main(["cache", *args, "--config", "config"])


def states(text):
    """Return the state of each row of the table, by the name of the cache."""
    rows = (re.split(r"  +", line.strip()) for line in text.splitlines())
    return {row[1]: row[-1] for row in rows if re.match(r"[0-9a-f]{16}", (row + [""])[1])}


def flip_block(path):
    """Change a number, and neither the size nor any structure of the file."""
    with h5py.File(path) as file:
        at = file["age"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def leftover(home, name="0123456789abcdef"):
    """Make what a killed build leaves."""
    folder = home / f"{name}.tmp-1-dead0000"
    folder.mkdir()
    (folder / "train.h5").write_text("half")
    return folder

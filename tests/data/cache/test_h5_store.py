"""The h5 files of a cache: what is damaged is found, and a full disk ends no process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.errors import DataError


def arrays(path, rows, names):
    with store.open_file(path) as file:
        return {name: store.read(store.column(file, name), 0, rows) for name in names}


def test_a_flipped_byte_in_a_file_of_many_blocks_is_found(tmp_path):
    path, rows = tmp_path / "train.h5", 2 * store.CHUNK_ROWS + 5
    columns = {f"c{i}": (np.dtype(np.uint8), 0) for i in range(12)}
    sound = np.random.default_rng(3).integers(0, 255, rows, np.uint8)
    with store.create(path, rows, columns) as write:
        write(0, dict.fromkeys(columns, sound))
    raw = bytearray(path.read_bytes())
    damaged = 0
    # Evenly over the file, and every byte of where its own structures are.
    for at in [*range(0, len(raw), 9973), *range(0, 4000, 37)]:
        raw[at] ^= 4
        path.write_bytes(raw)
        raw[at] ^= 4
        try:
            with store.open_file(path) as file:
                store.check(file, "", columns)
            for found in arrays(path, rows, columns).values():
                np.testing.assert_array_equal(found, sound)
        except DataError:
            damaged += 1
    assert damaged > 100


@pytest.mark.slow
@pytest.mark.parametrize("kib", [1, 3, 9, 40, 200])
def test_a_full_disk_ends_no_process_by_a_signal(tmp_path, kib):
    """HDF5 does so at Python's exit, after a write that it has seen fail."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from fuxictr_stem.data.cache import h5_store as store
resource.setrlimit(resource.RLIMIT_FSIZE, ({kib * 1024}, {kib * 1024}))
columns = dict(a=(np.dtype(np.uint8), 0), b=(np.dtype(np.uint8), 3))
block = dict(a=np.ones(50_000, np.uint8), b=np.ones((50_000, 3), np.uint8))
try:
    with store.create(Path("train.h5"), 200_000, columns) as write:
        for start in range(0, 200_000, 50_000):
            write(start, block)
except OSError as error:
    print(error.errno)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{errno.EFBIG}\n", "")

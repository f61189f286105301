"""Random states and logging of the process, restored after a training."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_HASH_SEED = "PYTHONHASHSEED"


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Have random numbers go on afterwards as if there had been no training.

    FuxiCTR's ``seed_everything`` seeds Python, NumPy and PyTorch, sets an environment variable and has
    cuDNN be deterministic.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    deterministic, hash_seed = torch.backends.cudnn.deterministic, os.environ.get(_HASH_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
        torch.backends.cudnn.deterministic = deterministic
        os.environ.pop(_HASH_SEED, None)
        if hash_seed is not None:
            os.environ[_HASH_SEED] = hash_seed

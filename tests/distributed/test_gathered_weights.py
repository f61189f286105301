"""One file of weights from several ranks, which one process, or other ranks, can read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_model

from fuxictr_stem.distributed import gathered_weights
from fuxictr_stem.models.base import parameter_counts
from fuxictr_stem.training.weights import shards_of
from tests.support.ranks import columns_of, first_model, on_ranks, write_vectors

NAME = "STEMNet"
FULL = Path("/dev/full")  # a disk without room


def write(ranks, folder):
    """Write a model in small blocks, after two writes that fail on the first rank."""
    gathered_weights.BLOCK_BYTES = 200
    model = first_model(NAME, columns_of(NAME, folder), ranks)
    tensors, shards = model.state_dict(), shards_of(model)
    failures = []
    for path in (folder / "no folder" / "weights", FULL):
        if ranks.is_first:
            try:
                gathered_weights.write(tensors, shards, path)
            except OSError as error:
                failures.append(error.errno)
        else:
            gathered_weights.send(tensors, shards)
    model.save_weights(str(folder / "model.safetensors"))
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.zero_()
    model.load_weights(str(folder / "model.safetensors"))
    same = all(torch.equal(before[name], tensor) for name, tensor in tensors.items())
    return failures, same, parameter_counts(model)


@pytest.mark.slow
def test_the_file_is_that_of_one_process(tmp_path):
    write_vectors(tmp_path)
    first, *others = on_ranks(3, write, tmp_path)
    model = first_model(NAME, columns_of(NAME, tmp_path), None)
    counts = parameter_counts(model)
    assert first == ([2, 28], True, counts)
    assert others == [([], True, counts)] * 2
    save_model(model, tmp_path / "alone.safetensors")
    ours, theirs = (load_file(tmp_path / f"{name}.safetensors") for name in ("model", "alone"))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight), name
        assert ours[name].dtype == weight.dtype

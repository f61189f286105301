"""Weights read in blocks: every number, whatever the block; few openings; another model's refused."""

import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from fuxictr_stem.training import weights


class Net(nn.Module):
    """Tensors of several shapes, one under two names."""

    def __init__(self, seed: int, parts: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(57, 3)
        self.twin = self.table
        self.parts = nn.ModuleList(nn.Linear(4, 5) for _ in range(parts))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("scalar", torch.randn(()))


@pytest.mark.parametrize("block", [1, 100, 1 << 26])
def test_in_blocks_of_any_size(tmp_path, monkeypatch, block):
    written, found = Net(1), Net(2)
    save_model(written, str(tmp_path / "weights"))
    monkeypatch.setattr(weights, "_BLOCK_BYTES", block)
    weights.read_into(found, tmp_path / "weights")
    for name, tensor in written.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_many_small_tensors_are_read_at_one_opening(tmp_path, monkeypatch):
    save_model(Net(1, parts=200), str(tmp_path / "weights"))
    opened = []
    original = weights.safe_open
    monkeypatch.setattr(weights, "safe_open", lambda *a: opened.append(a) or original(*a))
    weights.read_into(Net(2, parts=200), tmp_path / "weights")
    assert len(opened) == 2


@pytest.mark.parametrize("parts", [2, 4])
def test_those_of_another_model_are_refused(tmp_path, parts):
    save_model(Net(1, parts), str(tmp_path / "weights"))
    found = Net(2)
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"2 tensors are missing, left over .*parts\."):
        weights.read_into(found, tmp_path / "weights")
    assert all(torch.equal(before[name], tensor) for name, tensor in found.state_dict().items())

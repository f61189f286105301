"""A batch that fits a feature map, drawn from a seed."""

from __future__ import annotations

from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor

VOCAB_SIZE = 20


def synthetic_batch(
    feature_map: FeatureMap, label_col: list[dict[str, Any]], rows: int = 256, seed: int = 0
) -> dict[str, Tensor]:
    """Draw a batch of columns for a feature map: any ids, normal numbers, labels 0 and 1.

    A label with a ``parent`` is 0 wherever that is.
    """
    rng = torch.Generator().manual_seed(seed)
    batch: dict[str, Tensor] = {}
    for name, spec in feature_map.features.items():
        if spec["type"] == "numeric":
            batch[name] = torch.randn(rows, generator=rng)
        elif spec["type"] == "embedding":
            batch[name] = torch.randn(rows, spec["pretrain_dim"], generator=rng)
        else:
            shape = (rows, spec["max_len"]) if spec["type"] == "sequence" else (rows,)
            batch[name] = torch.randint(1, spec.get("vocab_size", VOCAB_SIZE), shape, generator=rng)
    for label in label_col:
        batch[label["name"]] = torch.randint(0, 2, (rows,), generator=rng).float()
    # A label may come before its parent: as many rounds as labels settle any chain.
    for _ in label_col:
        for label in label_col:
            if label.get("parent"):
                batch[label["name"]] *= batch[label["parent"]]
    return batch

"""A feature map and a batch that fit an experiment's config, made without its data.

How a model is wired does not depend on what its columns hold or how large its vocabularies are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.data.cache import load_feature_map

VOCAB_SIZE = 20
# Of a sequence whose config leaves its length to the data.
LENGTH = 5
_KEPT = ("source", "feature_encoder", "embedding_dim", "emb_output_dim", "share_embedding")


def synthetic_feature_map(params: Mapping[str, Any]) -> FeatureMap:
    """Return the feature map of an experiment as if each vocabulary had a few ids.

    Pretrained vectors are left out: such a field is one of learnt vectors here.

    Args:
        params: The experiment, checked and normalised.
    """
    features = [{col["name"]: _spec(col) for col in params["feature_cols"] if col["active"]}]
    labels = [label["name"] for label in params["label_col"]]
    content = {"dataset_id": params["dataset_id"], "labels": labels, "features": features}
    with TemporaryDirectory() as folder:
        (Path(folder) / "feature_map.json").write_text(json.dumps(content), encoding="utf-8")
        return load_feature_map(params["dataset_id"], Path(folder), params)


def _spec(col: Mapping[str, Any]) -> dict[str, Any]:
    kind = col["type"]
    spec = {"source": "", "type": kind, **{key: col[key] for key in _KEPT if key in col}}
    if kind in ("categorical", "sequence"):
        spec["vocab_size"] = VOCAB_SIZE
        if "category_processor" not in col:
            spec["padding_idx"] = 0
    if kind == "sequence":
        spec["max_len"] = col.get("max_len") or LENGTH
        spec.setdefault("feature_encoder", "layers.MaskedAveragePooling()")
    if kind == "embedding":
        spec["pretrain_dim"] = col["pretrain_dim"]
    return spec


def synthetic_batch(
    feature_map: FeatureMap, label_col: list[dict[str, Any]], rows: int = 256, seed: int = 0
) -> dict[str, Tensor]:
    """Draw a batch of columns for a feature map: any ids, normal numbers, labels 0 and 1.

    Args:
        feature_map: The feature map.
        label_col: The dataset's labels; one with a ``parent`` is 0 wherever that is.
        rows: Number of rows.
        seed: Seed of the draws.
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
    # A label may stand before its parent: as many rounds as labels settle any chain.
    for _ in label_col:
        for label in label_col:
            if label.get("parent"):
                batch[label["name"]] *= batch[label["parent"]]
    return batch

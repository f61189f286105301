"""A feature map that fits an experiment's config, made without its data.

How a model is wired does not depend on what its columns hold or how large its vocabularies are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuxictr.features import FeatureMap

from fuxictr_stem.data.cache.open_cache import load_feature_map
from fuxictr_stem.training.synthetic_batch import VOCAB_SIZE

# Of a sequence whose config leaves its length to the data.
LENGTH = 5
_KEPT = ("source", "feature_encoder", "embedding_dim", "emb_output_dim", "share_embedding")


def synthetic_feature_map(params: Mapping[str, Any]) -> FeatureMap:
    """Return the feature map of an experiment as if each vocabulary had a few ids.

    Pretrained vectors are left out: such a field is one of learnt vectors here.
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

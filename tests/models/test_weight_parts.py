"""A model's weights by part: every tensor in one part, with a name of its own."""

import torch

from fuxictr_stem.models.weight_parts import streams, weight_parts
from fuxictr_stem.registry import list_models
from tests.support.small_models import MIXED, deep_model


def test_every_tensor_is_in_a_part_once():
    for name in list_models():
        model = deep_model(name, MIXED)
        seen = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
        for part in weight_parts(model).values():
            assert tuple(seen[part.tensor][part.place].shape) == part.shape
            seen[part.tensor][part.place] += 1
        for key, count in seen.items():
            in_tables = key.startswith("embedding_layer.tables")
            assert torch.all(count == (0 if in_tables else 1)), (name, key)


def test_a_label_called_as_the_shared_table_is_not_taken_for_it():
    units = streams(["shared", "like"], 3)
    assert len({unit.name for unit in units}) == 3

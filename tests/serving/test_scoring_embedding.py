"""The embedding that scores reads what the model's reads, and the unknown row for an id outside."""

import itertools

import pytest
import torch

from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.serving.scoring_module import ScoringModule
from fuxictr_stem.serving.stored_rows import FLOAT16, FLOAT32, INT8
from tests.support.exports import assert_scores, columns_of, every_type, model_of
from tests.support.small_models import categorical, feature_map, sequence


@pytest.mark.parametrize(
    ("frozen", "usage"), list(itertools.product([True, False], ["init", "sum", "concat"]))
)
def test_pretrained_vectors_score_as_the_model(tmp_path, frozen, usage):
    fmap = feature_map(every_type(tmp_path, frozen, usage), data_dir=tmp_path)
    model = model_of("STEMNet", fmap)
    assert_scores(ScoringModule(model), model, columns_of(fmap, 64))


@pytest.mark.parametrize("stored_as", [FLOAT32, FLOAT16, INT8])
@pytest.mark.parametrize("outside", [-1, -(2**62), "size", 2**62])
@pytest.mark.parametrize("unknown", [{}, {"a": 2, "s": 3, "b": 1}])
def test_an_id_outside_its_vocabulary_reads_the_unknown_row(tmp_path, stored_as, outside, unknown):
    specs = every_type(tmp_path)
    fmap = feature_map(specs, data_dir=tmp_path)
    module = ScoringModule(model_of("STEMNet", fmap), unknown, stored_as)
    for name, spec in specs.items():
        if "vocab_size" not in spec:
            continue
        owner = spec.get("share_embedding", name)
        last = specs[owner].get("oov_idx", specs[owner]["vocab_size"] - 1)
        good, bad = columns_of(fmap, 8), columns_of(fmap, 8)
        for row in (3, 5):
            place = row if spec["type"] == "categorical" else (row, 1)
            good[name][place] = unknown.get(owner, last)
            bad[name][place] = specs[owner]["vocab_size"] if outside == "size" else outside
        expected, scores = module(good), module(bad)
        for output in module.outputs:
            assert torch.equal(scores[output], expected[output]), name


def test_the_tables_are_shared_and_nothing_of_training_is_left():
    model = model_of("STEMNet", feature_map({"a": categorical(9), "s": sequence(9, 2)}))
    module = ScoringModule(model)
    (table,) = model.embedding_layer.tables
    assert [t.weight.data_ptr() for t in module.tables()] == [table.table.weight.data_ptr()]
    gates = sum(gate.numel() for gate in model.experts.layers[0].gates.output.parameters())
    weights = sum(tensor.numel() for tensor in module.state_dict().values())
    # Besides the weights: three numbers per column that reads the table, and no mask.
    assert weights == sum(p.numel() for p in model.parameters()) + 3 * 3
    assert gates > 0
    assert not any(isinstance(part, TaskEmbedding) for part in module.modules())

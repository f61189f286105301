"""What scores computes what the model computes, for every model and type of feature, and nothing else."""

import copy
import itertools

import pytest
import torch

from fuxictr_stem import get_model
from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.serving.scoring_module import ScoringModule
from fuxictr_stem.serving.stored_rows import FLOAT16, FLOAT32, INT8, StoredRows
from tests.support.exports import columns_of, every_type, trained
from tests.support.small_models import MIXED, SMALL, categorical, feature_map, sequence

ALL = sorted(SMALL)


def model_of(name, fmap, **params):
    return trained(get_model(name)(fmap, **{"embedding_dim": 3, **SMALL[name], **params}))


@torch.no_grad()
def assert_scores(module, model, columns):
    expected, scores = model(columns), module(columns)
    assert list(scores) == list(expected) == module.outputs
    for name, score in scores.items():
        assert score.shape == (len(next(iter(columns.values()))),)
        torch.testing.assert_close(score, expected[name][:, 0], atol=2e-6, rtol=0)
        assert len(score) < 64 or score.std() > 1e-4


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_norm": True, "net_dropout": 0.3},
        {"hidden_activations": "prelu"},
        {"hidden_activations": "dice", "batch_norm": True},
        {"hidden_activations": "tanh", "gate_hidden_units": []},
    ],
    ids=str,
)
def test_it_scores_as_the_model(tmp_path, name, params):
    if "gate_hidden_units" in params:
        widths = ("expert_hidden_units", "bottom_hidden_units", "tower_hidden_units")
        params = {**params, **{width: [5] for width in widths if width in SMALL[name]}}
    fmap = feature_map(every_type(tmp_path), data_dir=tmp_path)
    model = model_of(name, fmap, **params)
    before = copy.deepcopy(model.state_dict())
    module = ScoringModule(model)
    for rows in (1, 2, 64):
        assert_scores(module, model, columns_of(fmap, rows))
    after = model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert module.names == [name for name in fmap.features if name != "g"]


@pytest.mark.parametrize("name", ["STEMNet", "STEMAL", "PLE", "MEPLE"])
@pytest.mark.parametrize(
    "more", [{}, {"isolate_shared_gate": False, "shared_gate_reads": "shared"}]
)
def test_two_layers_score_as_the_model(name, more):
    fmap = feature_map(MIXED, labels=3)
    model = model_of(name, fmap, num_layers=2, **more)
    assert_scores(ScoringModule(model), model, columns_of(fmap, 64))


@pytest.mark.parametrize(
    ("frozen", "usage"), list(itertools.product([True, False], ["init", "sum", "concat"]))
)
def test_pretrained_vectors_score_as_the_model(tmp_path, frozen, usage):
    fmap = feature_map(every_type(tmp_path, frozen, usage), data_dir=tmp_path)
    model = model_of("STEMNet", fmap)
    assert_scores(ScoringModule(model), model, columns_of(fmap, 64))


def test_a_regression_task_keeps_its_output():
    fmap = feature_map()
    model = model_of("MMoE", fmap, task=["binary_classification", "regression"])
    columns = columns_of(fmap, 64)
    assert_scores(ScoringModule(model), model, columns)
    assert ScoringModule(model)(columns)["y1_pred"].min() < 0


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


def test_every_weight_counts():
    """No expert, gate or tower is there that no score depends on."""
    for name in ALL:
        model = model_of(name, feature_map(), hidden_activations="tanh")
        module = ScoringModule(model)
        for parameter in module.parameters():
            parameter.requires_grad_()
        sum(score.sum() for score in module(columns_of(model.feature_map, 64)).values()).backward()
        dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
        assert not dead, name


@pytest.mark.parametrize(("stored_as", "step"), [(FLOAT16, 2**-11), (INT8, 1 / 254)])
def test_stored_rows_are_off_by_half_a_step(stored_as, step):
    weight = torch.randn(50, 12) * torch.logspace(-3, 3, 50)[:, None]
    weight[7] = 0
    rows = torch.tensor([[0, 7], [49, 3]])
    original = weight.clone()
    table = StoredRows(original, 3, stored_as)
    read = table(rows)
    assert read.dtype == torch.float32
    assert read.shape == (2, 2, 12)
    assert not read[0, 1].any()
    parts = weight[rows].unflatten(2, (3, 4))
    largest = parts.abs().amax(dim=3, keepdim=True)
    size = parts.abs() if stored_as == FLOAT16 else largest
    assert ((read.unflatten(2, (3, 4)) - parts).abs() <= step * size * 1.001 + 1e-7).all()
    assert not torch.equal(read, weight[rows])
    table.round_original()
    assert torch.equal(original[rows], read)


def test_sizes_of_stored_rows():
    weight = torch.randn(100, 48)
    sizes = [StoredRows(weight, 3, kind).stored_bytes for kind in (FLOAT32, FLOAT16, INT8)]
    assert sizes == [100 * 48 * 4, 100 * 48 * 2, 100 * (48 + 3 * 4)]


def test_a_number_too_large_for_float16_is_refused():
    with pytest.raises(ValueError, match="float16.*1e\\+05.*int8"):
        StoredRows(torch.tensor([[1e5, 1.0]]), 1, FLOAT16)


def test_a_model_of_another_package_scores_as_it_is():
    from fuxictr.pytorch.layers import FeatureEmbedding
    from fuxictr.pytorch.models import MultiTaskModel

    class Other(MultiTaskModel):
        def __init__(self, fmap):
            super().__init__(
                fmap,
                num_tasks=2,
                task="binary_classification",
                gpu=-1,
                verbose=0,
                model_root=".",
                metrics=[],
            )
            self.embedding = FeatureEmbedding(fmap, 3)
            self.towers = torch.nn.ModuleList(torch.nn.Linear(9, 1) for _ in range(2))

        def forward(self, inputs):
            x = self.embedding(inputs, flatten_emb=True)
            return {f"y{i}_pred": torch.sigmoid(tower(x)) for i, tower in enumerate(self.towers)}

    fmap = feature_map()
    model = trained(Other(fmap))
    assert_scores(ScoringModule(model), model, columns_of(fmap, 16))

"""What scores computes what the model computes, for every model and type of feature, and nothing else."""

import copy

import pytest
import torch

from fuxictr_stem.serving.scoring_module import ScoringModule
from tests.support.exports import assert_scores, columns_of, every_type, model_of, trained
from tests.support.small_models import MIXED, SMALL, feature_map

ALL = sorted(SMALL)


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


def test_a_regression_task_keeps_its_output():
    fmap = feature_map()
    model = model_of("MMoE", fmap, task=["binary_classification", "regression"])
    columns = columns_of(fmap, 64)
    assert_scores(ScoringModule(model), model, columns)
    assert ScoringModule(model)(columns)["y1_pred"].min() < 0


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

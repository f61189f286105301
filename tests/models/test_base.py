"""Properties of every registered model, and parity with the same model from FuxiCTR's own blocks."""

import copy
import math

import numpy as np
import pytest
import torch

from fuxictr_stem import get_model, list_models
from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.base import parameter_counts
from fuxictr_stem.training.trainer import Trainer
from tests.support.plain_models import AS_PUBLISHED, PLAIN
from tests.support.small_models import (
    SMALL,
    WITHOUT_ORDER,
    Batches,
    batch,
    categorical,
    feature_map,
    many_labels,
    numeric,
    permute_tasks,
    sequence,
    small_model,
)

ALL = sorted(SMALL)


def test_the_tests_know_every_model():
    assert list_models() == ALL


@pytest.mark.parametrize("name", WITHOUT_ORDER)
def test_permuting_tasks_permutes_outputs(name):
    """Trained from the same start with the tasks in another order, each task ends the same."""
    fmap = feature_map(labels=3)
    order = [2, 0, 1]
    permuted = [fmap.labels[i] for i in order]
    model = small_model(name, fmap, task_labels=fmap.labels)
    twin = small_model(name, fmap, task_labels=permuted)
    permute_tasks(model, twin, order)
    for seed in range(3):
        columns = batch(fmap, seed=seed)
        for label in fmap.labels:
            ours, theirs = model(columns)[f"{label}_pred"], twin(columns)[f"{label}_pred"]
            torch.testing.assert_close(ours, theirs)
            assert ours.std() > 1e-4
        model.train_step(columns)
        twin.train_step(columns)


def _plain_pair(name, fmap, **params):
    """A model from FuxiCTR's blocks and ours with its weights."""
    sizes = {"embedding_dim": 4, **SMALL[name], **params}
    plain = PLAIN[name](fmap, **sizes)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(std=0.4)
        for module in plain.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight[0] = 0
        if name in ("STEMNet", "PLE"):
            # The gate that nobody reads would still count in the published net_regularizer.
            layers = plain.stem_layers if name == "STEMNet" else plain.cgc_layers
            for parameter in layers[-1].gate[-1].parameters():
                parameter.zero_()
    ours = get_model(name)(fmap, **{**sizes, **AS_PUBLISHED.get(name, {})})
    load_reference_state_dict(ours, plain.state_dict())
    return plain, ours


RICH = {
    "a": categorical(9),
    "n": numeric(),
    "s": sequence(7, 4),
    "t": sequence(9, 3, share_embedding="a", feature_encoder="layers.MaskedSumPooling()"),
    "b": categorical(7, share_embedding="s"),
    "m": numeric(),
}


@pytest.mark.parametrize("name", sorted(PLAIN))
@pytest.mark.parametrize(
    ("features", "params"),
    [
        (None, {}),
        (None, {"embedding_regularizer": 0.01, "net_regularizer": 0.02}),
        (None, {"embedding_regularizer": "l1_l2(0.01, 0.02)", "net_regularizer": "l1(0.03)"}),
        (None, {"embedding_regularizer": 0.5, "max_gradient_norm": 0.05}),
        (None, {"batch_norm": True, "net_regularizer": 0.01}),
        (None, {"hidden_activations": "prelu"}),
        (None, {"hidden_activations": "dice"}),
        (None, {"hidden_activations": "tanh", "optimizer": "AdamW", "learning_rate": 0.05}),
        (RICH, {"embedding_regularizer": 0.01, "net_regularizer": 0.02}),
    ],
)
def test_ten_steps_equal_fuxictr_blocks(name, features, params):
    """Same weights and batches: same losses, under the plain model's step, our step and our loop."""
    fmap = feature_map(features)
    plain, ours = _plain_pair(name, fmap, **params)
    under_trainer = copy.deepcopy(ours)
    batches = [batch(fmap, size=32, seed=seed) for seed in range(10)]
    plain.train()
    ours.train()
    expected = [plain.train_step(one).item() for one in batches]
    found = [ours.train_step(one).item() for one in batches]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)

    in_loop = []
    step = under_trainer.train_step
    under_trainer.train_step = lambda one: in_loop.append(step(one)) or in_loop[-1]
    norm = params.get("max_gradient_norm", 10.0)
    Trainer(under_trainer, under_trainer.tasks, norm).fit(Batches(*batches), Batches(*batches), 1)
    np.testing.assert_allclose([x.item() for x in in_loop], expected, atol=1e-5, rtol=1e-5)
    assert np.std(expected) > 1e-3


@pytest.mark.parametrize("name", ["STEMNet", "PLE"])
def test_two_layers_equal_fuxictr_blocks(name):
    fmap = feature_map(labels=3)
    plain, ours = _plain_pair(name, fmap, num_layers=2)
    for seed in range(10):
        one = batch(fmap, size=32, seed=seed)
        assert abs(plain.train_step(one).item() - ours.train_step(one).item()) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_dropout_is_active_in_training_only(name):
    fmap = feature_map()
    model = small_model(name, fmap, net_dropout=0.5)
    columns = batch(fmap)
    model.train()
    assert not torch.equal(model(columns)["y0_pred"], model(columns)["y0_pred"])
    model.eval()
    assert torch.equal(model(columns)["y0_pred"], model(columns)["y0_pred"])


@pytest.mark.parametrize("name", ALL)
def test_fresh_weights_are_fuxictrs(name):
    """Tables N(0, 1e-4) with a zero padding row, Xavier-normal maps group by group, zero biases."""
    fmap = feature_map({"a": categorical(4000), "n": numeric()})
    gated = {"expert_hidden_units": [200, 150], "gate_hidden_units": [180]}
    bottom = {"bottom_hidden_units": [200, 150]}
    wide = gated if "expert_hidden_units" in SMALL[name] else bottom
    model = get_model(name)(
        fmap, **{**SMALL[name], "embedding_dim": 32, "tower_hidden_units": [160, 120], **wide}
    )
    table = model.embedding_layer.tables[0].table.weight
    assert torch.equal(table[0], torch.zeros_like(table[0]))
    assert table[1:].std().item() == pytest.approx(1e-4, rel=0.02)
    checked = 0
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias"):
            assert torch.equal(parameter, torch.zeros_like(parameter))
        elif parameter.dim() == 3 and parameter.shape[1] > 100:
            for group in parameter:
                expected = math.sqrt(2 / sum(group.shape))
                assert group.std().item() == pytest.approx(expected, rel=0.05)
                checked += 1
    assert checked >= 3


@pytest.mark.parametrize(
    ("name", "dense"),
    [
        # The published code's less its dead gate.
        ("STEMNet", 6_137_824 - 25_418),
        ("PLE", 6_137_564 - 25_288),
        ("MMoE", 4_929_426),
        ("OMoE", 4_904_138),
        ("SharedBottom", 755_970),
        # Two towers: 128 inputs, three layers of 512, one output.
        ("ESMM", 2 * (128 * 512 + 2 * 512 * 512 + 512 + 3 * 512 + 1)),
    ],
)
def test_dense_parameters_at_the_tiktok_setting(name, dense):
    fmap = feature_map({f"f{i}": categorical(11) for i in range(8)})
    gated = {
        "expert_hidden_units": [512] * 3,
        "gate_hidden_units": [128, 64],
        "tower_hidden_units": [128, 64],
    }
    hidden = {
        "STEMNet": {**gated, "num_shared_experts": 8, "num_specific_experts": 1},
        "PLE": {**gated, "num_shared_experts": 8, "num_specific_experts": 1},
        "MMoE": {**gated, "num_experts": 8},
        "OMoE": {**gated, "num_experts": 8},
        "SharedBottom": {"bottom_hidden_units": [512] * 3, "tower_hidden_units": [128, 128]},
        "ESMM": {"tower_hidden_units": [512] * 3},
    }[name]
    model = get_model(name)(fmap, embedding_dim=16, **hidden)
    tables = 3 if name == "STEMNet" else 1
    # Eight fields of 10 ids, and the one padding row they share.
    assert parameter_counts(model) == {"dense": dense, "embedding": 81 * 16 * tables}


def test_binary_and_regression_tasks_mix():
    fmap = feature_map(labels=2)
    model = small_model(
        "STEMNet", fmap, task=["binary_classification", "regression"], metrics=["AUC", "logloss"]
    )
    columns = batch(fmap, size=64)
    columns["y1"] = torch.linspace(-3, 5, 64)
    with torch.no_grad():
        outputs = model(columns)
    assert ((outputs["y0_pred"] > 0) & (outputs["y0_pred"] < 1)).all()
    results = model.evaluate(Batches(columns))
    error = outputs["y1_pred"].flatten().double() - columns["y1"].double()
    assert results["y1_MSE"] == pytest.approx((error**2).mean().item())
    assert results["y1_MAE"] == pytest.approx(error.abs().mean().item())
    assert results["MSE"] == results["y1_MSE"]
    assert results["AUC"] == results["y0_AUC"]
    assert not {"y1_AUC", "y0_MSE"} & set(results)
    losses = model.task_losses(model(columns), model.get_labels(columns))
    assert losses[1].item() == pytest.approx(results["y1_MSE"], rel=1e-5)


def test_task_labels_choose_and_order_the_tasks():
    fmap = feature_map(labels=3)
    model = small_model("STEMNet", fmap, task_labels=["y2", "y0"])
    columns = batch(fmap)
    assert list(model(columns)) == ["y2_pred", "y0_pred"]
    assert set(model.evaluate(Batches(columns), ["AUC"])) == {"y2_AUC", "y0_AUC", "AUC"}
    assert fmap.labels == ["y0", "y1", "y2"], "the feature map is the caller's"


def test_monitor_of_one_task_under_fuxictrs_fit(tmp_path):
    """FuxiCTR counts a metric it does not know as 0; here it decides."""
    fmap = feature_map()
    model = small_model("STEMNet", fmap, monitor="y1_AUC", model_root=str(tmp_path))
    one = batch(fmap, size=64)
    model.fit(Batches(one), epochs=1, validation_data=Batches(one))
    assert model._best_metric == model.evaluate(Batches(one), ["y1_AUC"])["y1_AUC"] > 0


@pytest.mark.parametrize(("name", "single"), [("MEMMoE", "MMoE"), ("MEPLE", "PLE")])
def test_tied_tables_are_the_single_table(name, single):
    fmap = feature_map(labels=3)
    several, one = small_model(name, fmap), small_model(single, fmap)
    state = dict(one.state_dict())
    for key in state:
        if ".table." in key:
            state[key] = state[key].repeat(1, 4)
    several.load_state_dict(state)
    columns = batch(fmap)
    for label in fmap.labels:
        torch.testing.assert_close(several(columns)[f"{label}_pred"], one(columns)[f"{label}_pred"])


def test_weights_are_saved_whole_and_read_back(tmp_path):
    fmap = feature_map(RICH)
    model = small_model("STEMNet", fmap, batch_norm=True)
    model.train_step(batch(fmap))
    path = tmp_path / "deep" / "model.safetensors"
    model.save_weights(str(path))
    twin = small_model("STEMNet", fmap, batch_norm=True, embedding_initializer="nn.init.zeros_")
    twin.load_weights(str(path))
    assert all(
        torch.equal(value, twin.state_dict()[key]) for key, value in model.state_dict().items()
    )
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"task_labels": ["y00"]}, "'y00' is not a label .* Did you mean"),
        ({"task_labels": ["y0", "y0"]}, "names a label twice: y0, y0"),
        (
            {"loss_weight": "WU"},
            "loss_weight: must be one of EQ, UW, DWA, or numbers >= 0: .*, found 'WU'",
        ),
        ({"num_tasks": 3}, "num_tasks: .* num_tasks is 3, .* but 2 labels are trained"),
        ({"task": ["binary_classification"]}, "task has 1 entries, but 2 labels are trained"),
        ({"loss": ["bce"] * 3}, "loss has 3 entries, but 2 labels are trained"),
        ({"embedding_initializer": "__import__('os').system('x')"}, "not an expression"),
    ],
)
def test_wrong_arguments_are_named(params, message):
    with pytest.raises(ConfigError, match=message):
        small_model("STEMNet", feature_map(), **params)


def test_unknown_keys_are_left_alone():
    """A constructor takes FuxiCTR's whole params; unknown keys are the config check's job."""
    small_model("STEMNet", feature_map(), pickle_feature_encoder=True, unheard_of=1)


def test_unknown_model_lists_what_there_is():
    with pytest.raises(ConfigError, match="Did you mean 'STEMNet'.*SharedBottom"):
        get_model("STEMnet")


def test_numpy_batches_of_other_dtypes():
    """Loaders hand out ids of any width and labels of any kind."""
    fmap = feature_map()
    model = small_model("STEMNet", fmap).eval()
    columns = batch(fmap)
    narrow = {k: v.to(torch.uint8 if k in fmap.labels else torch.int32) for k, v in columns.items()}
    assert torch.equal(model(columns)["y0_pred"], model(narrow)["y0_pred"])
    ours = model.add_loss(model(columns), model.get_labels(columns))
    assert torch.equal(ours, model.add_loss(model(narrow), model.get_labels(narrow)))


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("num_layers", [1, 2])
def test_every_parameter_gets_a_gradient(name, num_layers):
    fmap = feature_map(labels=many_labels(name))
    extra = {"num_layers": num_layers} if "num_layers" in SMALL[name] else {}
    # Not ReLU, whose few units here could all be off by chance.
    model = small_model(name, fmap, hidden_activations="LeakyReLU", **extra)
    columns = batch(fmap, size=64)
    model.add_loss(model(columns), model.get_labels(columns)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient for {parameter_name}"
        # Group by group: a dead expert, gate or tower must not hide behind its neighbours.
        for part in parameter.grad if parameter.dim() == 3 else [parameter.grad]:
            assert part.abs().max() > 0, f"a part of {parameter_name} gets no gradient"

"""The command line with missing labels, sample spaces, weights and balanced gradients."""

import re

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torchjd import aggregation

import fuxictr_stem.models
from fuxictr_stem import experiment
from fuxictr_stem import fuxictr_entry as drop_in
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.evaluation import predict
from fuxictr_stem.training.task_loss import sample_weights
from tests.support.project import result_of

pytestmark = pytest.mark.slow


@pytest.fixture
def project(project):
    """Likes are known in clicked rows, views in four of five; rows have weights."""
    for seed, (split, frame) in enumerate(project.frames.items()):
        rng = np.random.default_rng(seed)
        project.frames[split] = frame.with_columns(
            click=pl.Series((rng.random(len(frame)) < 0.6).astype(int)),
            weight=pl.Series(rng.integers(0, 4, len(frame)) / 2),
            watched=pl.col("age") * 2 + rng.normal(size=len(frame)),
            view=pl.when(pl.int_range(pl.len()) % 5 == 0).then(-1).otherwise("view"),
        )
    project.dataset["label_col"] = [
        {"name": "like", "dtype": "float"},
        {"name": "view", "dtype": "float", "missing": -1},
        {"name": "click", "dtype": "float"},
        {"name": "weight", "dtype": "float"},
        {"name": "watched", "dtype": "float"},
    ]
    project.model |= {
        "task_labels": ["like", "view"],
        "metrics": ["logloss", "AUC", "gAUC", "NE", "calibration"],
        "sample_spaces": {"like": "click"},
        "sample_weight": "weight",
    }
    return project


def test_metrics_are_of_the_tasks_samples_and_unweighted(project):
    assert project.run() == 0
    params = load_experiment("config", "toy_test")
    cache = open_cache(params)
    model = build_model(params, cache.feature_map(params))
    model.load_weights(model.checkpoint)
    more = {key: params[key] for key in ("sample_spaces", "sample_weight")}
    loader = H5Loader(model.feature_map, cache.path("test"), split="test", batch_size=37, **more)
    y_pred, test = predict(model, loader).y_pred, project.frames["test"]
    samples = {"like": test["click"] == 1, "view": test["view"] != -1}
    found = result_of(project)["test"]
    for label, own in samples.items():
        own = own.to_numpy()
        assert 20 < own.sum() < len(own)
        y, p = test[label].to_numpy()[own], y_pred[label][own]
        assert found[f"{label}_AUC"] == pytest.approx(roc_auc_score(y, p), abs=1e-9)
        share = y.mean()
        entropy = log_loss(y, np.full(len(y), share))
        assert found[f"{label}_NE"] == pytest.approx(log_loss(y, p) / entropy, abs=1e-6)
        assert found[f"{label}_calibration"] == pytest.approx(p.sum() / y.sum(), abs=1e-6)


def expected_loss(loss_weight, log_variances, steps):
    """The last step's loss by the weighting's formula; steps are (epoch, losses, samples of each task)."""
    epoch, losses, present = steps[-1]
    if loss_weight == "UW":
        return (np.exp(-log_variances) * losses + log_variances / 2)[present].sum()
    if loss_weight != "DWA":
        return (np.array([0.5, 2.0]) * losses).sum()
    if epoch < 2:
        return losses.sum()
    before, last = (
        np.nanmean([np.where(p, x, np.nan) for at, x, p in steps if at == epoch - ago], axis=0)
        for ago in (2, 1)
    )
    weights = np.exp(last / before / 2)
    return (2 * weights / weights.sum() * losses).sum()


@pytest.mark.parametrize("model", ["STEMNet", "PLE", "AITM"])
@pytest.mark.parametrize("loss_weight", ["UW", "DWA", [0.5, 2], {"view": 2, "like": 0.5}])
def test_every_weighting_of_the_tasks(project, monkeypatch, model, loss_weight):
    """Each step of a run has the loss that the weighting's formula makes of the tasks' losses."""
    project.model |= {"model": model, "loss_weight": loss_weight, "epochs": 4}
    project.model |= {"early_stop_patience": 9, "monitor": {"like_AUC": 1, "view_NE": -0.5}}
    for key in ("num_shared_experts", "expert_hidden_units", "gate_hidden_units"):
        if model == "AITM":
            project.model.pop(key)
    steps, log_variances = [], []
    add_loss = MultiTaskNet.add_loss

    def checked(self, return_dict, y_true):
        loss = add_loss(self, return_dict, y_true)
        if self.training:
            losses = torch.stack(self.task_losses(return_dict, y_true)).detach().double().numpy()
            present = np.array([float(n) > 0 for n in sample_weights(y_true)])
            steps.append((self._epoch_index, losses, present))
            s = getattr(self.task_weights, "log_variances", torch.zeros(2))
            log_variances.append(s.detach().double().numpy().copy())
            expected = expected_loss(loss_weight, log_variances[-1], steps)
            assert loss.item() == pytest.approx(expected, rel=1e-5)
        return loss

    monkeypatch.setattr(MultiTaskNet, "add_loss", checked)
    planning = experiment.plan_memory

    def plan(*args):
        # It takes a step of a small twin.
        memory = planning(*args)
        steps.clear()
        return memory

    monkeypatch.setattr(experiment, "plan_memory", plan)
    assert project.run() == 0
    assert result_of(project)["epochs"] == 4
    assert {epoch for epoch, *_ in steps} == {0, 1, 2, 3}
    if loss_weight == "UW":
        assert min(np.abs(log_variances[-1])) > 0, "they are learnt"


AGGREGATORS = {
    "PCGrad": (aggregation.PCGrad(), 1),
    "UPGrad": (aggregation.UPGrad(), 2),
    "CAGrad": (aggregation.CAGrad(c=0.4), 2 / 1.4),
}


@pytest.mark.parametrize("method", sorted(AGGREGATORS))
def test_balanced_gradients(project, monkeypatch, method):
    """Each step has torchjd's combination of the gradients where both tasks reach, else their sum."""
    project.model |= {"gradient_balancing": method, "epochs": 8, "learning_rate": 0.03}
    aggregator, scale = AGGREGATORS[method]
    changes = []
    backward = MultiTaskNet.backward

    def checked(self, batch):
        dense = [p for name, p in self.named_parameters() if "embedding_layer" not in name]
        losses = self.task_losses(self.forward(batch), self.get_labels(batch))
        by_task = [
            torch.autograd.grad(
                loss, dense, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for loss in losses
        ]
        loss = backward(self, batch)
        rows = [
            torch.stack(pair).reshape(2, len(pair[0]), -1) for pair in zip(*by_task, strict=True)
        ]
        shared = [(gradients != 0).any(dim=2).all(dim=0) for gradients in rows]
        parts = [
            gradients[:, both].flatten(1) for gradients, both in zip(rows, shared, strict=True)
        ]
        combined = scale * aggregator(torch.cat(parts, dim=1))
        changes.append(
            float((combined - torch.cat(parts, dim=1).sum(dim=0)).norm() / combined.norm())
        )
        sizes = [part.shape[1] for part in parts]
        pieces = zip(dense, rows, shared, combined.split(sizes), strict=True)
        for parameter, gradients, both, piece in pieces:
            expected = gradients.sum(dim=0)
            expected[both] = piece.view(expected[both].shape)
            torch.testing.assert_close(
                parameter.grad.reshape(expected.shape), expected, rtol=1e-3, atol=1e-6
            )
        return loss

    monkeypatch.setattr(MultiTaskNet, "backward", checked)
    assert project.run() == 0
    assert result_of(project)["test"]["AUC"] > 0.7
    assert len(changes) > 8
    assert np.median(changes) > 1e-3, "the sum of the gradients is another one"


def test_streaming_gives_the_same_result_as_memory(project):
    assert project.run() == 0
    first = result_of(project)
    project.model["memory_budget"] = 1
    assert project.run() == 0
    assert result_of(project)["test"] == first["test"]


def test_regression_in_a_space_is_stopped_by_r2(project):
    project.model |= {
        "task_labels": ["like", "watched"],
        "task": ["binary_classification", "regression"],
        "loss": None,
        "sample_spaces": {"watched": "click"},
        "metrics": ["AUC", "R2", "MSE", "MAE"],
        "monitor": "watched_R2",
        "loss_weight": "UW",
    }
    assert project.run() == 0
    result = result_of(project)
    curve = [one["valid"]["watched_R2"] for one in result["evaluations"]]
    assert result["valid"]["watched_R2"] == max(curve)


def test_fuxictrs_loop_and_loader(project):
    """Its loop trains what ours does; its preprocessing, which fills missing labels, is rejected."""
    project.model |= {"loss_weight": "DWA", "gradient_balancing": "PCGrad", "epochs": 3}
    project.write()
    run = (fuxictr_stem.models, project.folder / "config", "toy_test")
    figures = drop_in.run_under_fuxictr(*run, our_loader=True)
    assert figures["test"]["like_NE"] > 0
    with pytest.raises(ConfigError, match="turns the missing labels of view into 0.*--loader h5"):
        drop_in.run_under_fuxictr(*run)


MISTAKES = {
    "undeclared": (
        lambda p: p.dataset["label_col"][1].pop("missing"),
        "'view' .*120 rows of train with a value other than 0 and 1, such as -1",
    ),
    "filled and missing": (
        lambda p: p.dataset["label_col"][1].update(fill_na=0),
        "view.*missing: and fill_na exclude each other",
    ),
    "an empty label beside -1": (
        lambda p: p.frames.update(
            train=p.frames["train"].with_columns(
                view=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("view")
            )
        ),
        "'view' is missing in 1 row of train.*row 4",
    ),
    "no label at all": (
        lambda p: p.frames.update(valid=p.frames["valid"].with_columns(view=pl.lit(-1))),
        "'view' has no positive among 0 rows of valid",
    ),
    "one class in the space": (
        lambda p: p.frames.update(
            test=p.frames["test"].with_columns(like=pl.col("like") * (1 - pl.col("click")))
        ),
        "'like' has no positive among .* rows of test where 'click' is 1",
    ),
    "a negative weight": (
        lambda p: p.frames.update(
            train=p.frames["train"].with_columns(weight=pl.col("weight") - 0.5)
        ),
        "'weight' is negative in train, where its lowest value is -0.5",
    ),
    "weights of zero": (
        lambda p: p.frames.update(train=p.frames["train"].with_columns(weight=pl.lit(0.0))),
        "'weight' is 0 in all rows of train that 'like' learns from",
    ),
    "an unknown space": (
        lambda p: p.model.update(sample_spaces={"like": "klick"}),
        "'klick' is not a label of the dataset.*Did you mean 'click'",
    ),
    "an unknown weighting": (lambda p: p.model.update(loss_weight="GradNorm"), "EQ, UW, DWA"),
    "an unknown balancing": (
        lambda p: p.model.update(gradient_balancing="GradNorm"),
        "gradient_balancing: must be one of AlignedMTL",
    ),
    "calibration as the monitor": (
        lambda p: p.model.update(monitor="like_calibration"),
        "like_calibration cannot decide early stopping.*Monitor calibration_error",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_2(project, capsys, mistake):
    break_it, message = MISTAKES[mistake]
    break_it(project)
    assert project.run() == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error, re.DOTALL), error
    assert not list(project.folder.rglob("result.json"))


@pytest.mark.parametrize(("split", "like"), [("test", 0), ("valid", 1)])
def test_a_split_of_one_class_runs_where_no_metric_needs_two(split, like, project):
    """Its logloss is the mean of -log p of the class that there is, by the saved predictions."""
    project.model |= {"metrics": ["logloss"], "monitor": "logloss", "save_predictions": True}
    frames = project.frames
    frames[split] = frames[split].with_columns(like=pl.lit(like))
    assert project.run() == 0
    path = project.folder / "checkpoints" / "toy" / "toy_test" / f"predictions_{split}.parquet"
    clicked = pl.read_parquet(path).filter(pl.Series(frames[split]["click"] == 1))
    p = clicked["like_pred"].cast(pl.Float64)
    expected = -(p if like else 1 - p).log().mean()
    assert result_of(project)[split]["like_logloss"] == pytest.approx(expected, rel=1e-5)

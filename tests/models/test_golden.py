"""Parity with numbers recorded from the published implementation (environment: STEM_GOLDEN)."""

import copy
import json

import numpy as np
import pytest
import torch

from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.registry import get_model
from fuxictr_stem.training.trainer import Trainer
from tests.support.small_models import Batches, categorical, feature_map

NAMES = {"STEM": "STEMNet"}
TOLERANCE = 1e-5


class Golden:
    """One recorded file and our model at its starting weights."""

    def __init__(self, path, tmp_path):
        self.arrays = np.load(path)
        self.meta = json.loads(str(self.arrays["meta"]))
        sizes = self.meta["vocab"]
        fmap = feature_map({f"f{i}": categorical(size) for i, size in enumerate(sizes)})
        fmap.labels = self.meta["labels"]
        kind = NAMES.get(self.meta["model"], self.meta["model"])
        # In the MMoE file the experts go by another name.
        hyper = {"num_experts": self.meta["hyper"]["num_shared_experts"], **self.meta["hyper"]}
        self.model = get_model(kind)(
            fmap,
            **hyper,
            max_gradient_norm=self.meta["max_gradient_norm"],
            model_root=str(tmp_path),
        )
        load_reference_state_dict(self.model, self.group("init"))
        steps = torch.as_tensor(self.arrays["batches"])
        self.batches = [
            {name: step[:, i] for i, name in enumerate(self.meta["columns"])} for step in steps
        ]

    def group(self, prefix):
        """The recorded arrays below a prefix, by the rest of their name."""
        start = f"{prefix}/"
        return {k[len(start) :]: self.arrays[k] for k in self.arrays.files if k.startswith(start)}

    def in_our_shape(self, prefix):
        """Recorded tensors, as the parameters of a model of ours."""
        twin = copy.deepcopy(self.model)
        load_reference_state_dict(twin, self.group(prefix))
        return dict(twin.named_parameters())


@pytest.fixture(params=["stem_t2", "stem_t2_clip", "PLE_t2", "MMoE_t2"])
def golden(request, stem_golden, tmp_path):
    return Golden(stem_golden / f"{request.param}.npz", tmp_path)


def test_predictions(golden):
    outputs = golden.model.train()(golden.batches[0])
    for label in golden.meta["labels"]:
        recorded = torch.as_tensor(golden.arrays[f"pred/{label}"])
        torch.testing.assert_close(
            outputs[f"{label}_pred"], recorded, atol=TOLERANCE, rtol=0, check_dtype=False
        )


def test_gradient_of_each_task(golden):
    model, first = golden.model, golden.batches[0]
    for i, label in enumerate(golden.meta["labels"]):
        model.zero_grad()
        model.task_losses(model(first), model.get_labels(first))[i].backward()
        recorded = golden.in_our_shape(f"grad/{label}")
        for name, parameter in model.named_parameters():
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(
                grad, recorded[name].detach(), atol=TOLERANCE, rtol=0, msg=lambda m, n=name: n + m
            )


def _record_losses(model):
    losses, step = [], model.train_step

    def recorded_step(batch):
        loss = step(batch)
        losses.append(loss.item())
        return loss

    model.train_step = recorded_step
    return losses


@pytest.mark.parametrize("loop", ["train_step", "fuxictr", "ours"])
def test_every_training_step(golden, loop):
    model, batches = golden.model, Batches(*golden.batches)
    losses = _record_losses(model)
    if loop == "train_step":
        for one in golden.batches:
            model.train_step(one)
    elif loop == "fuxictr":
        model.fit(
            batches,
            epochs=1,
            validation_data=Batches(golden.batches[0]),
            max_gradient_norm=golden.meta["max_gradient_norm"],
        )
    else:
        trainer = Trainer(model, model.tasks, golden.meta["max_gradient_norm"])
        trainer.fit(batches, Batches(golden.batches[0]), epochs=1)
    np.testing.assert_allclose(losses, golden.arrays["loss_trace"], atol=TOLERANCE, rtol=0)
    recorded = golden.in_our_shape("final")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, recorded[name], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("golden", ["stem_t2_clip"], indirect=True)
def test_clipping_decides_the_clipped_trace(golden):
    """The clipped file is worth having only if clipping shows in it."""
    golden.model._max_gradient_norm = 10.0
    losses = [golden.model.train_step(one).item() for one in golden.batches]
    assert np.abs(losses - golden.arrays["loss_trace"]).max() > 100 * TOLERANCE

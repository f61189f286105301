"""What the models share: tasks, losses, evaluation and weights on FuxiCTR's `MultiTaskModel`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.models import MultiTaskModel
from fuxictr.pytorch.torch_utils import get_regularizer
from fuxictr.utils import print_to_list
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import Tensor, nn

from fuxictr_stem.errors import DataError, count_problems, first_line, raise_first
from fuxictr_stem.layers import GroupedMLP
from fuxictr_stem.layers.grouped import Activations
from fuxictr_stem.metrics.task_metrics import BINARY, FALLBACK
from fuxictr_stem.models.expressions import WIDEST
from fuxictr_stem.models.features import DEFAULT_INITIALIZER, TaskEmbedding
from fuxictr_stem.runtime.outputs import replacing
from fuxictr_stem.training.adam_step import AdamStep, l2_penalty, row_sparse_problems
from fuxictr_stem.training.balancing import GradientBalancer
from fuxictr_stem.training.cuda_graph_step import GraphedStep
from fuxictr_stem.training.evaluation import Batches, evaluate_predictions, predict
from fuxictr_stem.training.loss_sums import LossSums
from fuxictr_stem.training.loss_weights import EQUAL, DynamicWeightAverage, LossWeight, weights_of
from fuxictr_stem.training.precision import FP32, autocast, precision_problems, products_in, widen
from fuxictr_stem.training.ranks import BatchShare
from fuxictr_stem.training.task_loss import (
    Labels,
    loss_problems,
    losses_of,
    mean_loss,
    per_task,
    sample_space_problems,
    sample_weights,
    task_problems,
)
from fuxictr_stem.training.trainer import MAX_GRADIENT_NORM
from fuxictr_stem.training.weights import Opener, open_tensors, read_into, whole_sizes

logger = logging.getLogger(__name__)


class MultiTaskNet(MultiTaskModel):
    """Base of our models: FuxiCTR's `MultiTaskModel` with a choice of labels and fast evaluation.

    A model's constructor calls `embed`, sets up its layers from ``mlp``, and calls `finish` with the width
    of what the towers read. It trains under FuxiCTR's ``fit`` as under ours.

    Args:
        feature_map: FuxiCTR's description of the features; ``use_features`` applied.
        task: ``binary_classification`` or ``regression``, one for all tasks or a list.
        num_tasks: Number of tasks; by default what ``task_labels`` or the labels say.
        task_labels: The labels to train, in this order; by default all of the feature map's.
        loss: FuxiCTR's name of the loss, one for all tasks or a list.
        loss_weight: ``EQ``, ``UW`` or ``DWA``, a list of one number per task, or a mapping of labels to
            numbers; see `loss_weights`.
        gradient_balancing: How the tasks' gradients of shared dense parameters are combined; see
            `balancing`.
        sample_spaces: By task, the label of the dataset whose 1 makes a row one of its samples, such as
            ``{"conversion": "click"}``; by default every row is one.
        sample_weight: The column of the batch that weighs the rows in each task's loss; metrics are
            unweighted.
        row_sparse: Whether a step of Adam changes only the rows of the tables that the batch holds; see
            `adam_step`.
        precision: That of the matrix products in training and evaluation: ``fp32``, ``tf32`` (CUDA
            devices) or ``bf16``; weights and optimizer stay float32.
        optimizer: FuxiCTR's name of the optimizer.
        learning_rate: Its learning rate.
        embedding_dim: Width of an embedding, in each table where there are several.
        embedding_initializer: FuxiCTR's expression of the tables' initializer.
        tower_hidden_units: Widths of the hidden layers of a tower, which maps to a task's output.
        hidden_activations: FuxiCTR's name of the activation of all MLPs, or one per hidden layer.
        net_dropout: Dropout of all MLPs, or one per hidden layer.
        batch_norm: Whether the hidden layers of all MLPs are batch-normalised.
        max_gradient_norm: Norm to which the gradients of a step are clipped.
        metrics: What `evaluate` returns for each task, where it is not asked for others.
        model_root: Folder of the checkpoint.
        params: All other parameters of FuxiCTR's ``MultiTaskModel``; unknown ones are ignored.

    Raises:
        ConfigError: If the numbers of tasks, labels, losses and weights differ, a label is unknown, or
            gradients cannot be balanced so.
    """

    embedding_layer: TaskEmbedding
    towers: GroupedMLP

    def __init__(
        self,
        feature_map: FeatureMap,
        task: str | Sequence[str] = BINARY,
        num_tasks: int | None = None,
        task_labels: Sequence[str] | None = None,
        loss: str | Sequence[str] | None = None,
        loss_weight: LossWeight = EQUAL,
        gradient_balancing: str | None = None,
        sample_spaces: Mapping[str, str] | None = None,
        sample_weight: str | None = None,
        row_sparse: bool = False,
        precision: str = FP32,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        embedding_dim: int = 10,
        embedding_initializer: str = DEFAULT_INITIALIZER,
        tower_hidden_units: Sequence[int] = (128, 64),
        hidden_activations: Activations = "ReLU",
        net_dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        max_gradient_norm: float = MAX_GRADIENT_NORM,
        metrics: Sequence[str] = FALLBACK[BINARY],
        model_root: str = "./checkpoints/",
        **params: Any,
    ) -> None:
        labels = list(task_labels or feature_map.labels)
        raise_first(task_problems(labels, feature_map.labels, task, loss, num_tasks))
        tasks = per_task(task, labels)
        losses = losses_of(loss, tasks)
        raise_first(loss_problems(labels, tasks, losses))
        for key in ("embedding_regularizer", "net_regularizer"):
            # FuxiCTR ignores a whole number without a word.
            if isinstance(params.get(key), int):
                params[key] = float(params[key])
        super().__init__(
            feature_map,
            task=tasks,
            num_tasks=len(tasks),
            loss_weight=loss_weight,
            metrics=list(metrics),
            model_root=model_root,
            **{"verbose": 0, **params},
        )
        self.labels = labels
        self.tower_labels = labels  # in the order of the towers
        self.tasks = dict(zip(labels, tasks, strict=True))
        self.task_weights = weights_of(loss_weight, self.tasks)
        self.loss_sums = LossSums(len(labels))
        # Set while a step is taken on a part of a batch.
        self.batch_share: BatchShare | None = None
        self._save: Callable[[str], None] | None = None
        self._opener: Opener = open_tensors
        self.balancer = GradientBalancer(gradient_balancing) if gradient_balancing else None
        # The labels of the batches may be more than the feature map lists.
        raise_first(sample_space_problems(sample_spaces, labels, dataset_labels=()))
        self.sample_spaces = dict(sample_spaces or {})
        self.sample_weight = sample_weight
        self._row_sparse = row_sparse
        self._adam_step: AdamStep | GraphedStep | None = None
        raise_first(precision_problems(precision, self.device))
        self.precision = precision
        self._epoch_index = 0  # FuxiCTR's; counted by its ``fit`` and by ours
        # Of the last step, before clipping; None unless it is watched.
        self.gradient_norm: Tensor | None = None
        self.checkpoint = str(Path(self.model_dir).resolve() / self.model_id / "model.safetensors")
        self._max_gradient_norm = float(max_gradient_norm)
        self._compile_with = (optimizer, losses, learning_rate)
        self.mlp: dict[str, Any] = {
            "hidden_activations": hidden_activations,
            "dropout_rates": net_dropout,
            "batch_norm": batch_norm,
        }
        raise_first(count_problems(WIDEST, embedding_dim=embedding_dim))
        self._embed_with = (embedding_dim, embedding_initializer)
        self._tower_units = tower_hidden_units

    def embed(self, num_tables: int) -> int:
        """Set up the embedding of all features in a number of tables; return the width of one's input."""
        dim, initializer = self._embed_with
        self.embedding_layer = TaskEmbedding(self.feature_map, dim, num_tables, initializer)
        return self.embedding_layer.output_dim

    def finish(self, width: int) -> None:
        """Set up towers, which read this width, optimizer and losses; initialise; move to the device."""
        self.towers = GroupedMLP(self.num_tasks, width, self._tower_units, output_dim=1, **self.mlp)
        self.compile(*self._compile_with)
        self.reset_parameters()
        self.model_to_device()

    def embedded(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embed a batch of columns: (K, B, in) with K tables."""
        return self.embedding_layer(self.get_inputs(inputs))

    def predictions(self, x_TBH: Tensor) -> dict[str, Tensor]:
        """Return the towers' activated outputs, (B, 1) each, named as FuxiCTR expects them.

        They read one representation per task, (T, B, H), or one for all, (1, B, H).
        """
        return {
            f"{label}_pred": activation(widen(output))
            for label, activation, output in zip(
                self.labels, self.output_activation, self.towers(x_TBH), strict=True
            )
        }

    def get_inputs(
        self, inputs: dict[str, Tensor], feature_source: Any = None
    ) -> dict[str, Tensor]:
        """Return the model's features from a batch, whatever else is in it, on the device."""
        sources = feature_source if isinstance(feature_source, (list, tuple)) else [feature_source]
        return {
            name: inputs[name].to(self.device)
            for name, spec in self.feature_map.features.items()
            if spec["type"] != "meta" and (not feature_source or spec.get("source") in sources)
        }

    def get_labels(self, inputs: dict[str, Tensor]) -> Labels:
        """Return the chosen labels of a batch, a float (B, 1) each, with the rows' weights.

        A label is NaN in a row that is not a sample of its task.
        """

        def column(name: str) -> Tensor:
            return inputs[name].to(self.device).float().view(-1, 1)

        labels = []
        for label in self.labels:
            y, space = column(label), self.sample_spaces.get(label)
            labels.append(y if space is None else torch.where(column(space) == 1, y, torch.nan))
        return Labels(labels, None if self.sample_weight is None else column(self.sample_weight))

    def task_losses(self, return_dict: dict[str, Tensor], y_true: list[Tensor]) -> list[Tensor]:
        """Return each task's mean loss over its samples, without regularisation and task weights.

        It is the rows' weighted mean where ``y_true`` has weights, and 0 for a task without a sample.
        """
        weight, share = getattr(y_true, "weight", None), self.batch_share
        totals = [None] * self.num_tasks if share is None else share.weights_T
        return [
            mean_loss(loss, return_dict[f"{label}_pred"], y, weight, total)
            for label, loss, y, total in zip(self.labels, self.loss_fn, y_true, totals, strict=True)
        ]

    def weighted_losses(self, return_dict: dict[str, Tensor], y_true: list[Tensor]) -> Tensor:
        """Return what each task adds to the loss, (T,): its loss, weighted by ``loss_weight``."""
        losses_T, weights_T = self._losses(return_dict, y_true)
        return self._weighted(losses_T, weights_T > 0)

    def add_loss(self, return_dict: dict[str, Tensor], y_true: list[Tensor]) -> Tensor:
        """Return the weighted sum of the tasks' losses; in training mode record each (DWA, logs)."""
        losses_T, weights_T = self._losses(return_dict, y_true)
        if self.batch_share is not None:
            self.batch_share.losses_T = losses_T.detach()
        elif self.training:
            self.note_losses(losses_T, weights_T)
        return self._weighted(losses_T, weights_T > 0).sum()

    def note_losses(self, losses_T: Tensor, weights_T: Tensor) -> None:
        """Record a batch's losses, each over samples of this weight (DWA, logs)."""
        self.loss_sums.add(losses_T, weights_T)
        self.task_weights.observe(losses_T, weights_T > 0, self._epoch_index)

    def _losses(
        self, return_dict: dict[str, Tensor], y_true: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the tasks' losses and the weight of their samples, (T,) each."""
        losses_T, share = torch.stack(self.task_losses(return_dict, y_true)), self.batch_share
        return losses_T, sample_weights(y_true) if share is None else share.weights_T

    def _weighted(self, losses_T: Tensor, present_T: Tensor) -> Tensor:
        """Return what each task adds to the loss, or what a part of a batch adds to that."""
        weighted_T = self.task_weights(losses_T, present_T)
        if self.batch_share is None or self.batch_share.is_first:
            return weighted_T
        # All weightings are linear in the losses, so that the parts' sum is the whole but for a constant.
        return weighted_T - self.task_weights(torch.zeros_like(losses_T), present_T)

    def compile(self, optimizer: str, loss: str | list[str], lr: float) -> None:
        """Set up optimizer and losses, as FuxiCTR does; Adam in a form that passes less over tables.

        With ``row_sparse``, another optimizer or an L1 penalty is a ConfigError.
        """
        super().compile(optimizer, loss, lr)
        regularizer = self._embedding_regularizer
        raise_first(row_sparse_problems(self._row_sparse, str(optimizer), regularizer))
        penalty = l2_penalty(regularizer)
        self._adam_step = None
        if str(optimizer).lower() == "adam" and penalty is not None:
            step = AdamStep(self, penalty, lr, self._row_sparse)
            self.optimizer = step.optimizer
            # These two look at numbers in every step.
            looks = self.balancer or isinstance(self.task_weights, DynamicWeightAverage)
            graphed = self.device.type == "cuda" and not looks
            self._adam_step = GraphedStep(step) if graphed else step

    def split_tables(
        self,
        wrap: Callable[[AdamStep], AdamStep],
        save: Callable[[str], None],
        opener: Opener,
    ) -> None:
        """Have what knows the other processes take the steps of Adam and save and load the weights.

        ``wrap`` makes the step of all processes of that of one; ``save`` does what `save_weights` does;
        ``opener`` opens a file of weights for all.
        """
        step = self._adam_step
        # Messages between processes are not recorded.
        step = step.step if isinstance(step, GraphedStep) else step
        assert step is not None
        self._adam_step = wrap(step)
        self.optimizer = self._adam_step.optimizer
        self._save, self._opener = save, opener

    @property
    def skips_lost_steps(self) -> bool:
        """Whether a step changes nothing where its loss is not finite, without a look at it."""
        return self._adam_step is not None and self.device.type == "cuda"

    def hold_after_lost_step(self, on: bool) -> None:
        """Have no step after one whose loss is not finite change anything, until this is called again.

        Then the losses of some steps can be looked at together: the weights are those from before the
        first such step. Only for a model that `skips_lost_steps`.
        """
        assert self._adam_step is not None
        self._adam_step.hold_after_lost_step(on)

    def watch_gradient_norm(self) -> None:
        """Have ``gradient_norm`` hold the norm of each step's gradient, on the model's device."""
        self.gradient_norm = torch.zeros((), device=self.device)
        if self._adam_step is not None:
            self._adam_step.watch_norm(self.gradient_norm)

    def train_step(self, batch_data: dict[str, Tensor]) -> Tensor:
        """Take a step of the optimizer as FuxiCTR does, with balanced gradients if so configured.

        With Adam it is that of `adam_step`. Returns the loss with its penalties; inf, and no step, where
        the gradient is not finite.
        """
        with products_in(self.precision):
            if self._adam_step is not None and self.optimizer is self._adam_step.optimizer:
                return self._adam_step(batch_data, self._max_gradient_norm)
            self.optimizer.zero_grad()
            loss = self.backward(batch_data)
            norm = nn.utils.clip_grad_norm_(self.parameters(), self._max_gradient_norm)
            if self.gradient_norm is not None:
                self.gradient_norm.copy_(norm)
            if not torch.isfinite(norm):
                return torch.full_like(loss, torch.inf)
            self.optimizer.step()
            return loss

    def backward(self, batch_data: dict[str, Tensor]) -> Tensor:
        """Add a batch's gradients to the parameters, balanced where wanted; return its loss."""
        with autocast(self.precision, self.device):
            return_dict = self.forward(batch_data)
        y_true = self.get_labels(batch_data)
        loss = self.compute_loss(return_dict, y_true)
        if self.balancer is None:
            loss.backward()
            return loss
        dense, share = self.dense_parameters(), self.batch_share
        losses_T = self.weighted_losses(return_dict, y_true)
        add_up = None if share is None else share.add_up
        corrections = self.balancer.corrections(losses_T, dense, add_up)
        loss.backward()
        if share is not None and not share.is_first:
            return loss
        for parameter, correction in zip(dense, corrections, strict=True):
            parameter.grad = correction if parameter.grad is None else parameter.grad + correction
        return loss

    def regularization_loss(self) -> Tensor | float:
        """Return FuxiCTR's penalties, except for tables whose penalty the optimizer takes over."""
        if self.batch_share is not None and not self.batch_share.is_first:
            return 0.0
        tables = self.embedding_layer.tables
        elsewhere = {id(t.table) for t in tables if t.row_gradients is not None}
        of_embeddings = get_regularizer(self._embedding_regularizer or None)
        of_net = get_regularizer(self._net_regularizer or None)
        loss: Tensor | float = 0.0
        for module in self.modules():
            pairs = of_embeddings if type(module) is nn.Embedding else of_net
            if not pairs or id(module) in elsewhere:
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if name in ("weight", "bias") and parameter.requires_grad:
                    for norm, amount in pairs:
                        loss = loss + amount / norm * torch.norm(parameter, norm) ** norm
        return loss

    def dense_parameters(self) -> list[nn.Parameter]:
        """Return the learnt parameters outside the embedding layer."""
        tables = {id(parameter) for parameter in self.embedding_layer.parameters()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in tables]

    def evaluate(
        self, data_generator: Batches, metrics: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the metrics of each task over a pass of batches, and their means over the tasks.

        Args and result are as of `evaluate_predictions`; by default the metrics are the configured ones.
        """
        names = list(metrics) if metrics is not None else list(self.validation_metrics)
        results = evaluate_predictions(self.tasks, predict(self, data_generator), names)
        logger.info("[Metrics] %s", print_to_list(results))
        return results

    def predict(self, data_generator: Batches) -> dict[str, np.ndarray]:
        """Return each label's predictions over one pass of the batches, (N,) each."""
        return predict(self, data_generator).y_pred

    def save_weights(self, checkpoint: str) -> None:
        """Write the weights as safetensors, the whole file or nothing, or raise `OutputError`."""
        if self._save is not None:
            self._save(checkpoint)
            return
        os.makedirs(os.path.dirname(checkpoint), exist_ok=True)
        with replacing(Path(checkpoint), SafetensorError) as temporary:
            save_model(self, str(temporary))

    def load_weights(self, checkpoint: str) -> None:
        """Read weights written by `save_weights`; no pickle is read. Another file is a DataError."""
        self.to(self.device)
        try:
            read_into(self, checkpoint, self._opener)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise DataError(
                f"The weights {checkpoint} cannot be read: {first_line(error)}"
            ) from error


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Return a model's number of learnt parameters, ``dense`` and ``embedding``."""
    embedding = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    sizes = whole_sizes(model)
    counts = {"dense": 0, "embedding": 0}
    for parameter in model.parameters():
        if parameter.requires_grad:
            kind = "embedding" if id(parameter) in embedding else "dense"
            counts[kind] += sizes[id(parameter)]
    return counts

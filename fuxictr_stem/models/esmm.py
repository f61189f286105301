"""ESMM: the conversion rate learnt over all impressions (Ma et al., SIGIR 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.errors import Problem, raise_first
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.nested_labels import Labels, ancestors
from fuxictr_stem.training.precision import widen


class ESMM(MultiTaskNet):
    """Two towers on one table: ``pCTR``, and ``pCVR`` within the product that has a label everywhere.

    With ``x`` the embedded features, and labels on every impression for both predictions::

        p(click)      = pCTR        = sigmoid(tower_1(x))
        p(conversion) = pCTCVR      = pCTR * pCVR,   pCVR = sigmoid(tower_0(x))

    The product is a probability of the conversion only if there is none without a click. So the conversion
    label must be nested in the click label, which the dataset declares: ``parent`` in its ``label_col``.

    Args:
        feature_map: FuxiCTR's description of the features.
        click_label: The label of the first step. An experiment's config names both labels.
        conversion_label: The label of the second step: 0 wherever the first is 0. Where no config is
            at hand and neither is named, they are the two labels in order, as in the published code.
        params: As in `MultiTaskNet`; ``label_col``, the dataset's labels, says what is nested.
            Without it, the caller vouches for that.

    Raises:
        ConfigError: If the labels are not two binary ones, their roles are not clear, ``label_col``
            does not declare the conversion nested in the click, or a sample space leaves out rows that
            the product of the two needs.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        click_label: str | None = None,
        conversion_label: str | None = None,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        if click_label is None and conversion_label is None and "label_col" not in params:
            click_label, conversion_label = self.labels[0], self.labels[-1]
        roles = {"click_label": click_label, "conversion_label": conversion_label}
        settled = {"task_labels": self.labels, "task": list(self.tasks.values())}
        raise_first(self.params_problems({**params, **settled, **roles}))
        self.click_label, self.conversion_label = click_label, conversion_label
        # As in the published code, whatever the order of the labels.
        self.tower_labels = [str(conversion_label), str(click_label)]
        self.finish(self.embed(1))

    @staticmethod
    def params_problems(params: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield the first thing wrong with the labels; ``task_labels`` and ``task`` are lists."""
        labels, types = params["task_labels"], params["task"]
        click: Any = params.get("click_label")
        conversion: Any = params.get("conversion_label")
        spaces, declared = params.get("sample_spaces") or {}, params.get("label_col") or []
        space = spaces.get(conversion)
        if len(labels) != 2:
            yield Problem(
                "task_labels",
                f"ESMM trains two labels, a click and a conversion, found {len(labels)}: {labels}.",
                "Name those two.",
            )
        elif {click, conversion} != set(labels):
            yield Problem(
                "click_label" if click not in labels else "conversion_label",
                f"click_label and conversion_label must name the two labels that are trained, "
                f"{labels}, one each; found {click!r} and {conversion!r}.",
                "Name them so, or choose others by task_labels.",
            )
        elif set(types) != {BINARY}:
            yield Problem(
                "task",
                f"ESMM multiplies probabilities, found {dict(zip(labels, types, strict=True))}.",
                f"Make both {BINARY}.",
            )
        elif space is not None and click in (space, *ancestors(declared, space)):
            yield Problem(
                "sample_spaces",
                f"leaves the rows without {click!r} out for {conversion!r}, but ESMM learns pCTR * "
                f"pCVR on all rows.",
                f"Leave {conversion!r} out.",
            )
        elif spaces.get(click) != space and spaces.get(click) in ancestors(declared, click):
            yield Problem(
                "sample_spaces",
                f"makes pCTR the rate of {click!r} where {spaces[click]!r} is 1, but {conversion!r} is "
                f"learnt as pCTR * pCVR on other rows.",
                f"Leave {click!r} out, or give {conversion!r} the same sample space.",
            )
        elif declared and click not in ancestors(declared, conversion):
            yield Problem("conversion_label", *_not_nested(declared, click, conversion))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict both labels: a batch of columns to ``{label}_pred``, (B, 1) each."""
        cvr_B1, ctr_B1 = self._rates(inputs)
        rates = {self.click_label: ctr_B1, self.conversion_label: ctr_B1 * cvr_B1}
        return {f"{label}_pred": rates[label] for label in self.labels}

    def cvr(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the probability of the conversion given the click, pCVR, (B, 1)."""
        return self._rates(inputs)[0]

    def _rates(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return pCVR and pCTR, (2, B, 1)."""
        return torch.sigmoid(widen(self.towers(self.embedded(inputs))))


def _not_nested(declared: Labels, click: str, conversion: str) -> tuple[str, str]:
    """Return why a conversion label does not do, and what to declare."""
    if conversion in ancestors(declared, click):
        return (
            f"{conversion!r} is declared the parent of {click!r}: the roles are swapped.",
            f"Set click_label: {conversion} and conversion_label: {click}.",
        )
    return (
        f"{conversion!r} is not declared nested in {click!r}, and pCTR * pCVR can only be the "
        f"probability of a label that is 0 wherever {click!r} is 0.",
        f"If it is, give it `parent: {click}` in label_col. If not, train a label that is: "
        f'{{name: {click}_{conversion}, dtype: float, preprocess: "both({click}, {conversion})", '
        f"parent: {click}}}.",
    )

"""STEM-AL: STEM-Net with auxiliary labels, which help the main tasks (after arXiv 2308.13537)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuxictr.features import FeatureMap

from fuxictr_stem.errors import Problem, raise_first, suggest
from fuxictr_stem.models.stemnet import STEMNet


class STEMAL(STEMNet):
    """`STEMNet` in which some tasks are there for the others.

    A main task's gate reads all experts and trains its own and the shared ones; an auxiliary task's
    gate reads and trains its own and the shared ones.

    Args:
        feature_map: FuxiCTR's description of the features.
        auxiliary_labels: The labels of the auxiliary tasks; at least one task must be left.
        params: As in `STEMNet`.

    Raises:
        ConfigError: If an auxiliary label is not trained, or no main task is left.
    """

    def __init__(
        self, feature_map: FeatureMap, auxiliary_labels: Sequence[str], **params: Any
    ) -> None:
        # Set before the parent builds its layers; a plain attribute, which nn.Module allows then.
        self.auxiliary_labels = list(auxiliary_labels)
        super().__init__(feature_map, **params)

    @staticmethod
    def params_problems(params: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with ``auxiliary_labels`` for ``task_labels``, both lists."""
        auxiliary, labels = params.get("auxiliary_labels") or [], params["task_labels"]
        for label in auxiliary:
            if label not in labels:
                yield Problem(
                    "auxiliary_labels",
                    f"{label!r} is not trained; the labels that are: {', '.join(labels)}.",
                    suggest(label, labels),
                )
        if set(labels) <= set(auxiliary):
            yield Problem(
                "auxiliary_labels",
                f"all labels that are trained, {', '.join(labels)}, are auxiliary.",
                "Leave at least one main task.",
            )

    def auxiliary_tasks(self) -> list[int]:
        """Return the numbers of the auxiliary tasks, once it is known which tasks there are."""
        params = {"task_labels": self.labels, "auxiliary_labels": self.auxiliary_labels}
        raise_first(self.params_problems(params))
        return [i for i, label in enumerate(self.labels) if label in self.auxiliary_labels]

"""STEM-AL: STEM-Net with auxiliary labels, which help the main tasks (after arXiv 2308.13537)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fuxictr.features import FeatureMap

from fuxictr_stem.errors import ConfigError, suggest
from fuxictr_stem.layers import GateRules, auxiliary_rules
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

    def rules(self) -> Callable[..., GateRules]:
        """Return what makes the gates' rules, once it is known which tasks there are."""
        for label in self.auxiliary_labels:
            if label not in self.labels:
                raise ConfigError(
                    f"auxiliary_labels: {label!r} is not among the labels that are trained, "
                    f"{self.labels}.{suggest(label, self.labels)}"
                )
        auxiliary = [i for i, label in enumerate(self.labels) if label in self.auxiliary_labels]
        if len(auxiliary) == self.num_tasks:
            raise ConfigError(
                f"auxiliary_labels: all labels {self.labels} are auxiliary. Leave a main task."
            )
        return partial(auxiliary_rules, auxiliary=auxiliary)

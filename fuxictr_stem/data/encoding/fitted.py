"""What an encoder knows, as plain data: how columns are read, and what fitting has found out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fuxictr_stem.config.column_words import CATEGORICAL, META
from fuxictr_stem.data.encoding.column_encoders import (
    Encoder,
    Feature,
    column_encoder,
    of_written_numbers,
)
from fuxictr_stem.data.encoding.vocabulary import Vocabulary
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.split_files import whole_number
from fuxictr_stem.errors import ConfigError, suggest


@dataclass(frozen=True)
class Fitted:
    """The state of an encoder."""

    plan: Plan  # how the columns are read, and what missing values become
    features: list[Feature]  # what fitting has found out about each feature
    vocabularies: list[Vocabulary]  # the vocabularies that these name
    functions: dict[str, str]  # the identity of each preprocess function

    @cached_property
    def made(self) -> set[str]:
        """The features that a function makes."""
        return {col["name"] for col in self.plan.derived}

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """The features by name."""
        return {feature.name: feature for feature in self.features}

    def feature(self, name: str) -> Feature:
        """Return a feature.

        Raises:
            ConfigError: There is none of this name.
        """
        if name not in self.by_name:
            raise ConfigError(f"There is no feature {name!r}.{suggest(name, self.by_name)}")
        return self.by_name[name]

    def words(self, name: str) -> Vocabulary | None:
        """Return the vocabulary of a feature, if it has one."""
        place = self.feature(name).vocabulary
        return None if place is None else self.vocabularies[place]

    def column_encoders(
        self,
        features: Collection[str],
        rows: float,
        whole: Collection[str],
        fills: Mapping[str, Any],
    ) -> list[Encoder]:
        """Return the encoders of some features, which will encode about so many rows (inf: as in training).

        ``whole`` are the columns declared text of which there are the numbers, too, ``fills`` what
        missing values become.
        """
        encoders = []
        for name in features:
            feature, words = self.feature(name), self.words(name)
            column = "" if name in self.made else self.plan.source_of(name).name
            is_whole = column in whole and feature.kind in (CATEGORICAL, META)
            if is_whole and words is not None and not words.is_searched(rows):
                numbers = whole_number(column)
                encoders.append(of_written_numbers(feature, words, numbers, fills[name]))
            else:
                encoders.append(column_encoder(feature, words, rows))
        return encoders

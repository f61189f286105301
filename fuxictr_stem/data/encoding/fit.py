"""FuxiCTR's ``FeatureProcessor`` fits: it decides what an id is.

Importing this module imports ``fuxictr.preprocess`` (ray, scikit-learn: seconds), so only the
building of a cache does; it starts no Ray cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fuxictr.preprocess import FeatureProcessor

from fuxictr_stem.data.encoding.column_encoders import Feature, Normalizer
from fuxictr_stem.data.encoding.count_tokens import TokenCounts, count_share, counted_features
from fuxictr_stem.data.encoding.encoder_files import Fitted
from fuxictr_stem.data.encoding.fill_values import filled_frame
from fuxictr_stem.data.encoding.pretrained import check_pretrained, match_pretrained
from fuxictr_stem.data.encoding.remarks import Remark, table_remarks, unsplit
from fuxictr_stem.data.encoding.vocabulary import Vocabulary
from fuxictr_stem.data.source.derived_columns import identities, type_problems, value_problems
from fuxictr_stem.data.source.open_source import with_kinds
from fuxictr_stem.data.source.source_column import RESERVED, SPLITTER, inner_type
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import explained, first_place
from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.runtime.group import ALONE, Group

_TYPES = {"str": str, "int": int, "float": float, "list": list}


class Processor(FeatureProcessor):
    """FuxiCTR's processor, writing feature_map.json, feature_vocab.json and pretrained files into a folder.

    It leaves no pickle, and uses up the ``tokens`` that `count_share` has counted.
    """

    feature_cols: list[dict[str, Any]]

    def __init__(self, source: Source, folder: Path, tokens: dict[str, TokenCounts]) -> None:
        plan = source.plan
        super().__init__(
            # Types, not their names: the processor evaluates names.
            feature_cols=[{**col, "dtype": _TYPES[col["dtype"]]} for col in plan.features],
            label_col=[{"name": label, "dtype": float} for label in plan.labels],
            dataset_id=plan.dataset_id,
            group_id=plan.group_id,
        )
        self.source = source
        self._tokens = tokens
        self.remarks: list[Remark] = []
        self.min_categr_count = plan.min_categr_count
        self.data_dir = str(folder)
        self.json_file = str(folder / "feature_map.json")
        self.vocab_file = str(folder / "feature_vocab.json")
        self.feature_map.data_dir = self.data_dir

    def save_pickle(self, pickle_file: str) -> None:
        """Leave no pickle."""

    def save_vocab(self, vocab_file: str) -> None:
        """Write the vocabularies as FuxiCTR does, also where a pretrained file's keys are numpy's."""
        vocabularies = {}
        for name, tokens in self.vocabularies().items():
            if self.feature_map.features[name]["type"] != "meta":
                in_order = sorted(tokens.items(), key=itemgetter(1))
                if set(map(type, tokens)) != {str}:
                    in_order = [(_plain(token), id_) for token, id_ in in_order]
                vocabularies[name] = dict(in_order)
        # One line per vocabulary: indenting millions of tokens takes longer than counting them.
        lines = (f"{json.dumps(name)}: {json.dumps(ids)}" for name, ids in vocabularies.items())
        Path(vocab_file).write_text("{\n" + ",\n".join(lines) + "\n}\n")

    def vocabularies(self) -> dict[str, Mapping[Any, int]]:
        """Return the tokens of each fitted column that has any, and their ids."""
        return {
            name: self.processor_dict[f"{name}::tokenizer"].vocab
            for name in self.feature_map.features
            if f"{name}::tokenizer" in self.processor_dict
        }

    def fitted(self) -> Fitted:
        """Return what fitting has found out as plain values; a shared table is one vocabulary."""
        dtypes = {col["name"]: col["dtype"] for col in self.source.plan.features}
        # Columns that share a table share one dict.
        places: dict[int, int] = {}
        vocabularies, features = list[Vocabulary](), list[Feature]()
        for name, spec in self.feature_map.features.items():
            more: dict[str, Any] = {"width": spec.get("pretrain_dim", 0)}
            tokenizer = self.processor_dict.get(f"{name}::tokenizer")
            if tokenizer is not None:
                place = places.setdefault(id(tokenizer.vocab), len(places))
                if place == len(vocabularies):
                    vocabularies.append(Vocabulary.of(tokenizer.vocab))
                more = {"vocabulary": place}
                if spec["type"] == "sequence":
                    missing = tokenizer._na_value
                    more |= {
                        "width": int(tokenizer.max_len),
                        "pre": tokenizer.padding == "pre",
                        "padding": missing if isinstance(missing, str) else None,
                    }
            normalizer = self.processor_dict.get(f"{name}::normalizer")
            if normalizer is not None:
                more["normalizer"] = _scaler(normalizer)
            features.append(Feature(name, spec["type"], dtypes[name], **more))
        functions = identities(self.source.plan.derived)
        return Fitted(with_kinds(self.source), features, vocabularies, functions)

    def _collect_statistics(
        self, train_ddf: pl.LazyFrame, meta_ddf: pl.LazyFrame | None = None
    ) -> dict[str, Any]:
        """Return FuxiCTR's statistics, counted in bounded memory; reject an empty vocabulary."""
        counted = counted_features(self.feature_cols)
        # There may be millions, and nothing reads them later.
        tokens, self._tokens = self._tokens, {}
        counts = {col["name"]: tokens[col["name"]].counts() for col in counted}
        problems = (p for col in counted for p in self._problems(col, counts[col["name"]]))
        raise_all(DataError, f"dataset {self.source.plan.dataset_id!r}", problems)
        self.remarks = list(table_remarks(counted, counts))
        # What FuxiCTR's normalizers need: one query, in bounded memory.
        every = self.feature_cols
        self.feature_cols = [c for c in every if c["active"] and c["type"] == "numeric"]
        stats = super()._collect_statistics(train_ddf)
        self.feature_cols = every
        for col in counted:
            name = col["name"]
            stats[name] = {"value_counts": counts[name]}
            if col["type"] == "sequence":
                stats[name]["max_len"] = tokens[name].longest
                if self._is_text(name):
                    splitter = col.get("splitter", SPLITTER)
                    self.remarks += unsplit(name, tokens[name].table(), splitter)
        return stats

    def _is_text(self, name: str) -> bool:
        """Say whether a sequence is text in train, where a list would need no splitter."""
        if name in self.source.plan.made:
            return True
        origin = self.source.plan.source_of(name).origin
        return all(inner_type(part.types[origin]) is None for part in self.source.parts["train"])

    def _problems(self, col: Mapping[str, Any], tokens: Mapping[Any, int]) -> Iterator[str]:
        """Yield why a column's tokens make no vocabulary: one of them is FuxiCTR's own, or it is empty."""
        name = col["name"]
        for token in RESERVED:
            if token in tokens:
                yield self._reserved(name, token, tokens[token])
        least, missing = 1, ""
        if col["type"] != "meta":
            least = col.get("min_categr_count", self.min_categr_count)
            missing = col.get("fill_na", "")
        counts = {**tokens, missing: 0} if missing in tokens else tokens
        largest = max(counts.values(), default=0)
        if not largest:
            where = "any split" if col["type"] == "meta" else "train"
            yield f"column {name!r} has no value in {where}, only missing ones. Make it inactive."
        elif largest < least:
            yield (
                f"column {name!r} would have an empty vocabulary: min_categr_count is {least:,}, and the "
                f"most frequent value occurs {largest:,} times in train. Lower min_categr_count, or make "
                "the column inactive."
            )

    def _reserved(self, name: str, token: str, count: int) -> str:
        times = "once" if count == 1 else f"{count:,} times"
        if name in self.source.plan.made:
            return (
                f"the preprocess function of column {name!r} makes {token!r} {times}. FuxiCTR's "
                "vocabularies reserve this text; let it make another value."
            )
        column = self.source.plan.source_of(name)
        sequence = column.kind == "sequence"
        place = first_place(
            self.source, column, lambda v: v.list.contains(token) if sequence else v == token
        )
        return (
            f"{column.described} holds {token!r} {times}; first in {place}. FuxiCTR's vocabularies "
            "reserve this text. Use another value, or leave a missing one empty (null)."
        )


def fit(
    source: Source, folder: Path, scratch: Path, group: Group = ALONE
) -> tuple[Processor, dict[str, pl.LazyFrame]]:
    """Fit FuxiCTR's processor on checked files as its ``build_dataset`` does.

    The folder gets feature_map.json, feature_vocab.json and the pretrained files. Where there is a
    group, this is its first process, and the others call `count_share` with the same ``scratch``.
    Returns the fitted processor, and each split's columns with missing values filled.

    Raises:
        DataError: A vocabulary is empty, a pretrained file is not as its column wants it, or a file
            cannot be read.
    """
    plan = source.plan
    check_pretrained(plan)
    heading = f"dataset {plan.dataset_id!r}"
    raise_all(DataError, heading, type_problems(plan.derived, source.frame("train")))
    with explained(source):
        frames = {split: filled_frame(plan, source.frame(split)) for split in source.parts}
        raise_all(DataError, heading, value_problems(plan.derived, frames))
        processor = Processor(source, folder, count_share(source, scratch, group))
        processor.fit(frames["train"], min_categr_count=plan.min_categr_count)
    processor.remarks += match_pretrained(plan, processor)
    return processor, frames


def _scaler(normalizer: Any) -> Normalizer:
    """Return a normalizer of FuxiCTR's, which has the bound method of scikit-learn's."""
    scaler = normalizer.normalizer.__self__
    offset = scaler.mean_ if hasattr(scaler, "mean_") else scaler.min_
    return Normalizer(type(scaler).__name__, float(offset[0]), float(scaler.scale_[0]))


def _plain(token: Any) -> Any:
    return token.item() if isinstance(token, np.generic) else token

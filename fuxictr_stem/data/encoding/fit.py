"""FuxiCTR's ``FeatureProcessor`` fits: it decides what an id is.

Importing this module imports ``fuxictr.preprocess`` (ray, scikit-learn: seconds), so only the
building of a cache does; it starts no Ray cluster.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fuxictr.preprocess import FeatureProcessor

from fuxictr_stem.data.encoding.column_remarks import unsplit
from fuxictr_stem.data.encoding.count_tokens import count_tokens
from fuxictr_stem.data.encoding.fill_values import fills
from fuxictr_stem.data.encoding.id_remarks import Remark, apart, no_vectors, twice_written
from fuxictr_stem.data.encoding.pretrained import key_problems
from fuxictr_stem.data.encoding.whole_numbers import whole_numbers
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.columns import RESERVED, inner_type
from fuxictr_stem.data.source.derived_columns import filled, type_problems, value_problems
from fuxictr_stem.data.source.split_files import HIDDEN, Source
from fuxictr_stem.data.source.validate import explained, first_place
from fuxictr_stem.errors import DataError, refuse
from fuxictr_stem.models.pretrained_vectors import read_pretrained

logger = logging.getLogger(__name__)


class Processor(FeatureProcessor):
    """FuxiCTR's processor, writing into a folder of ours and leaving no pickle.

    Args:
        source: The files, with FuxiCTR's column dicts.
        folder: Where feature_map.json, feature_vocab.json and pretrained files go.
    """

    feature_cols: list[dict[str, Any]]

    def __init__(self, source: Source, folder: Path) -> None:
        plan = source.plan
        super().__init__(
            feature_cols=plan.features,
            label_col=plan.labels,
            dataset_id=plan.dataset_id,
            group_id=plan.group_id,
        )
        self.source = source
        self.remarks: list[Remark] = []
        self.min_categr_count = plan.min_categr_count
        self._derived = {col["name"]: filled(col) for col in plan.derived}
        self.data_dir = str(folder)
        self.json_file = str(folder / "feature_map.json")
        self.vocab_file = str(folder / "feature_vocab.json")
        self.feature_map.data_dir = self.data_dir

    def derive(self, name: str) -> pl.Expr:
        """Return what makes a column, which FuxiCTR asks for by its ``preprocess``."""
        return self._derived[name]

    def preprocess(self, ddf: pl.LazyFrame) -> pl.LazyFrame:
        """Fill and copy as FuxiCTR does, but leave sequences the lists of tokens that they are.

        FuxiCTR would join them, and split them again where a token itself holds the splitter.

        Args:
            ddf: A split's columns.
        """
        whole = self.feature_cols
        self.feature_cols = [
            _as_tokens(col) if col.get("type") == "sequence" else col for col in whole
        ]
        # Of a dtype that is not filled.
        flags = [name for name in ddf.collect_schema().names() if name.startswith(HIDDEN)]
        self.feature_cols += [{"name": name, "dtype": bool, "active": True} for name in flags]
        try:
            return super().preprocess(ddf)
        finally:
            self.feature_cols = whole

    def save_pickle(self, pickle_file: str) -> None:
        """Leave no pickle."""

    def save_vocab(self, vocab_file: str) -> None:
        """Write the vocabularies as FuxiCTR does, also where a pretrained file's keys are numpy's.

        Args:
            vocab_file: The JSON file to write.
        """
        vocabularies = {}
        for name, spec in self.feature_map.features.items():
            if spec["type"] in ("categorical", "sequence"):
                tokens = self.processor_dict[f"{name}::tokenizer"].vocab.items()
                vocabularies[name] = {_plain(k): v for k, v in sorted(tokens, key=_by_id)}
        # A line a vocabulary: indenting millions of tokens takes longer than counting them.
        lines = (f"{json.dumps(name)}: {json.dumps(ids)}" for name, ids in vocabularies.items())
        Path(vocab_file).write_text("{\n" + ",\n".join(lines) + "\n}\n")

    def _collect_statistics(
        self, train_ddf: pl.LazyFrame, meta_ddf: pl.LazyFrame | None = None
    ) -> dict[str, Any]:
        """Return FuxiCTR's statistics, counted in bounded memory; refuse an empty vocabulary."""
        active = [col for col in self.feature_cols if col["active"]]
        counted = [
            col
            for col in active
            if col["type"] in ("meta", "categorical", "sequence") and col.get("remap", True)
        ]
        meta = [col["name"] for col in counted if col["type"] == "meta"]
        whole = whole_numbers(fills(self.source))
        tokens = count_tokens(train_ddf, [c["name"] for c in counted if c["type"] != "meta"], whole)
        tokens |= count_tokens(train_ddf if meta_ddf is None else meta_ddf, meta, whole)
        stats = self._number_statistics(train_ddf, active)
        for col in counted:
            found = tokens[col["name"]]
            stats[col["name"]] = {"value_counts": found.counts()}
            if col["type"] == "sequence":
                stats[col["name"]]["max_len"] = found.longest
        self._check_tokens(stats)
        self.remarks = _table_remarks(counted, stats)
        for col in counted:
            if col["type"] == "sequence" and self._is_text(col["name"]):
                table = tokens[col["name"]].table()
                remark = unsplit(col["name"], table, col.get("splitter", "^"))
                self.remarks += [remark] if remark is not None else []
        return stats

    def _is_text(self, name: str) -> bool:
        """Say whether a sequence is text in train, where a list would need no splitter."""
        if name in self._derived:
            return True
        origin = self.source.plan.source_of(name).origin
        return all(inner_type(part.types[origin]) is None for part in self.source.parts["train"])

    def _check_tokens(self, stats: Mapping[str, Any]) -> None:
        """Refuse vocabularies that are empty, or hold a token that is FuxiCTR's own."""
        problems = []
        for col in self.feature_cols:
            found = stats.get(col["name"], {})
            problems += [
                self._reserved(col["name"], token, found["value_counts"][token])
                for token in RESERVED
                if token in found.get("value_counts", ())
            ]
            problem = self._empty(col, found)
            if problem:
                problems.append(problem)
        if problems:
            refuse(DataError, f"dataset {self.feature_map.dataset_id!r}", problems)

    def _reserved(self, name: str, token: str, count: int) -> str:
        times = "once" if count == 1 else f"{count:,} times"
        if name in self._derived:
            return (
                f"the preprocess function of column {name!r} makes {token!r} {times}. FuxiCTR's "
                f"vocabularies reserve this text; have it make another value."
            )
        column = self.source.plan.source_of(name)
        sequence = column.kind == "sequence"
        place = first_place(
            self.source, column, lambda v: v.list.contains(token) if sequence else v == token
        )
        return (
            f"{column.described} holds {token!r} {times}; first in {place}. FuxiCTR's vocabularies "
            "reserve this text. Write another value; a missing one is left empty (null)."
        )

    def vocabularies(self) -> dict[str, Mapping[Any, int]]:
        """Return the tokens of each fitted column that has any, and their ids."""
        return {
            name: self.processor_dict[f"{name}::tokenizer"].vocab
            for name in self.feature_map.features
            if f"{name}::tokenizer" in self.processor_dict
        }

    def _number_statistics(
        self, train_ddf: pl.LazyFrame, active: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Have FuxiCTR compute what its normalizers need: one query, in bounded memory."""
        whole = self.feature_cols
        self.feature_cols = [col for col in active if col["type"] == "numeric"]
        try:
            return super()._collect_statistics(train_ddf)
        finally:
            self.feature_cols = whole

    def _empty(self, col: Mapping[str, Any], stats: Mapping[str, Any]) -> str | None:
        if "value_counts" not in stats:
            return None
        least, missing = 1, ""
        if col["type"] != "meta":
            least = col.get("min_categr_count", self.min_categr_count)
            missing = col.get("fill_na", "")
        largest = max((n for t, n in stats["value_counts"].items() if t != missing), default=0)
        if largest >= max(least, 1):
            return None
        name = f"column {col['name']!r}"
        if not largest:
            where = "any split" if col["type"] == "meta" else "train"
            return f"{name} has no value in {where}, only missing ones. Make it inactive."
        return (
            f"{name} would have an empty vocabulary: min_categr_count is {least:,}, and the most "
            f"frequent value occurs {largest:,} times in train. Lower min_categr_count, or make "
            "the column inactive."
        )


def fit(source: Source, folder: Path) -> tuple[Processor, dict[str, pl.LazyFrame]]:
    """Fit FuxiCTR's processor as its ``build_dataset`` does.

    Args:
        source: The checked files.
        folder: Gets feature_map.json, feature_vocab.json and the pretrained files.

    Returns:
        The fitted processor, and each split's columns with missing values filled.

    Raises:
        DataError: A vocabulary is empty, a pretrained file is not as its column wants it, or a file
            cannot be read.
    """
    _check_pretrained(source.plan)
    heading = f"dataset {source.plan.dataset_id!r}"
    derived = source.plan.derived
    problems = [*type_problems(derived, source.frame("train"))]
    if problems:
        refuse(DataError, heading, problems)
    processor = Processor(source, folder)
    with explained(source):
        frames = {split: processor.preprocess(source.frame(split)) for split in source.parts}
        problems = [*value_problems(derived, frames)]
        if problems:
            refuse(DataError, heading, problems)
        processor.fit(
            frames["train"],
            meta_ddf=pl.concat(list(frames.values())),
            min_categr_count=source.plan.min_categr_count,
        )
    _match_pretrained(source.plan, processor)
    return processor, frames


def _check_pretrained(plan: Plan) -> None:
    """Refuse pretrained files that FuxiCTR would stop at half-way, or read as other keys."""
    problems = []
    for col in plan.features:
        if "pretrained_emb" in col:
            path = Path(col["pretrained_emb"])
            about = f"pretrained_emb of column {col['name']!r}, {path}"
            try:
                problems += [f"{about}: {text}" for text in _pretrained_problems(path, col)]
            except DataError as error:
                problems.append(f"{about}: {error}")
            except Exception:  # noqa: BLE001  each reader has its own kinds of error
                wanted = f"{path.suffix} with keys of dtype {col['dtype'].__name__}"
                problems.append(f"{about}: cannot be read as {wanted} and vectors of numbers.")
    if problems:
        refuse(DataError, f"dataset {plan.dataset_id!r}", problems)


def _pretrained_problems(path: Path, col: Mapping[str, Any]) -> list[str]:
    keys, vectors = read_pretrained(path)
    problems = key_problems(keys, col["dtype"])
    vectors = np.stack(list(vectors)).astype(np.float32)
    width = col.get("pretrain_dim", vectors.shape[-1])
    if vectors.ndim != 2 or len(vectors) != len(keys) or vectors.shape[1] != width:
        problems.append(
            f"needs one vector of pretrain_dim {width} for each of its {len(keys):,} keys, but "
            f"'value' has shape {vectors.shape}."
        )
    elif not np.isfinite(vectors).all():
        problems.append("its vectors hold NaN or infinite values.")
    return problems


def _match_pretrained(plan: Plan, processor: Processor) -> None:
    """Log how many tokens of train have a pretrained vector; none is worth a remark."""
    for col in plan.features:
        if "pretrained_emb" in col and col["active"]:
            vocab = processor.processor_dict[f"{col['name']}::tokenizer"].vocab
            last = processor.feature_map.features[col["name"]]["oov_idx"]
            keys = read_pretrained(Path(col["pretrained_emb"]))[0].astype(col["dtype"])
            found = sum(0 < vocab.get(key, 0) < last for key in keys.tolist())
            text = "Column %s: %s of %s tokens of train have a pretrained vector."
            logger.info(text, col["name"], f"{found:,}", f"{last - 1:,}")
            if not found:
                tokens = [token for token, id_ in vocab.items() if 0 < id_ < last]
                processor.remarks.append(no_vectors(col["name"], tokens, keys.tolist()))


def _as_tokens(col: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sequence's dict for filling alone: its type stands for text, its fill value is a list."""
    fill = pl.lit(col.get("fill_na", "")).cast(pl.String).str.split(col.get("splitter", "^"))
    return {**col, "type": "tokens", "fill_na": fill}


def _table_remarks(counted: Sequence[Mapping[str, Any]], stats: Mapping[str, Any]) -> list[Remark]:
    """Return what is odd about the tokens of columns, and of columns that share a table."""
    tables: dict[str, dict[Any, int]] = {}
    remarks = []
    for col in counted:
        name, tokens = col["name"], stats[col["name"]]["value_counts"]
        owner = col.get("share_embedding")
        if owner:
            remarks.append(apart(name, tokens, owner, tables[owner], ("", col.get("fill_na"))))
            tokens = {**tables[owner], **tokens}
        tables[owner or name] = tokens
    remarks += [twice_written(name, tokens) for name, tokens in tables.items()]
    return [remark for remark in remarks if remark is not None]


def _plain(token: Any) -> Any:
    return token.item() if isinstance(token, np.generic) else token


def _by_id(item: tuple[Any, int]) -> int:
    return item[1]

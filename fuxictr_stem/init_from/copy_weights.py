"""Weights of another run, copied into a model whose training begins."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel
from safetensors import SafetensorError

from fuxictr_stem import results
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.encoding.vocabulary import Matched, match_tokens
from fuxictr_stem.errors import ConfigError, DataError, first_line
from fuxictr_stem.init_from.compatibility import (
    Anatomy,
    Source,
    anatomy,
    anatomy_of,
    check_fit,
    open_source,
)
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.initial_weights import (
    Rows,
    copy_parts,
    copy_rows,
    table_columns,
    table_rows,
)
from fuxictr_stem.models.weight_parts import projection_parts, streams
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.training.weights import TensorFile, open_tensors, shards_of

logger = logging.getLogger(__name__)


class InitialWeights:
    """The weights of the finished run in ``folder``, from which one that writes to ``target`` starts.

    With ``resume``, a run that has begun has recorded its start, and the folder need not be there any
    more: ``source`` is then None, and the run must have a state to continue from. ``digest`` is the SHA-256
    of the file of weights. A ConfigError names all that does not fit.
    """

    def __init__(
        self,
        folder: Path,
        target: Path,
        params: Mapping[str, Any],
        resume: bool = False,
    ) -> None:
        self.folder, self._params = Path(os.path.abspath(folder)), params
        self.source: Source | None = None
        account = results.last_account(target) if resume and not folder.exists() else None
        recorded = (account or {}).get("init_from")
        if recorded and recorded["folder"] == str(self.folder):
            self.digest: str = recorded["weights"]
            return
        if folder.is_dir() and target.is_dir() and folder.samefile(target):
            raise ConfigError(
                f"--init-from {folder} is the folder that this run writes to. Copy it to another place, or "
                f"run under another experiment id or model_root."
            )
        self.source = open_source(folder)
        self.digest = self.source.digest
        check_fit(self.source, params)

    def check_same(self, digest: str, who: str) -> None:
        """Compare with another process' digest; ``who`` is what this one is called in a ConfigError."""
        if digest != self.digest:
            raise ConfigError(
                f"--init-from {self.folder} is a different run on {who} than on rank 0. Give all "
                "hosts the same folder, or copies of it."
            )

    def take_over(self, model: MultiTaskModel, encoder_folder: Path) -> dict[str, Any]:
        """Copy all that fits into a model, perhaps with a part of the rows of its tables; log it.

        What is new in the model stays as it is. ``encoder_folder`` has the encoder of the run's own data.

        Returns:
            ``folder``, ``expid``, ``dataset_id`` and ``weights`` (the digest) of the other run; ``tasks``
            (``matched``, ``new``, ``gone``); ``tokens``: by field, how many are in the vocabulary, and
            how many are ``matched``, ``new`` and ``gone``; ``fresh``: what else starts from new weights.

        Raises:
            ConfigError: The other run is gone, and no saved state of this one is intact.
            DataError: The other run's weights cannot be read, or have changed since the start.
        """
        assert isinstance(model, MultiTaskNet)
        source = self.source
        if source is None:
            raise ConfigError(
                "--resume: no state of this run is intact, and the run that it starts from, "
                f"{self.folder}, no longer exists. Put it back, or start from another one."
            )
        path, encoder = source.folder / results.WEIGHTS, RowEncoder.load(encoder_folder)
        try:
            # One file throughout, though another process may meanwhile replace it.
            with open_tensors(path) as file:
                if results.weights_digest(source.folder) != self.digest:
                    raise DataError("that run has been trained again since. Start again.")
                record = _take_over(file, source, model, self._params, encoder)
        except (DataError, SafetensorError, OSError, RuntimeError) as error:
            raise DataError(
                f"--init-from: the weights {path} cannot be used: {first_line(error)}"
            ) from error
        record = {
            "folder": str(self.folder),
            "expid": source.params["model_id"],
            "dataset_id": source.params["dataset_id"],
            "weights": self.digest,
            **record,
        }
        logger.info("%s", _text(record))
        return record


class _Vocabulary(NamedTuple):
    """The rows of one field."""

    field: str
    there: str  # the field whose rows they are in the other run
    matched: Matched
    rows: Rows


def _take_over(
    file: TensorFile,
    source: Source,
    model: MultiTaskNet,
    params: Mapping[str, Any],
    encoder: RowEncoder,
) -> dict[str, Any]:
    theirs, ours = anatomy(source.params), anatomy_of(model, params)
    state, shards = model.state_dict(), shards_of(model)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    fresh = copy_parts(
        file,
        state,
        theirs.parts | projection_parts(source.layout, file.shapes, theirs.labels),
        ours.parts | projection_parts(ours.layout, shapes, ours.labels),
    )
    tables = [streams(side.labels, side.num_tables) for side in (theirs, ours)]
    vocabularies = list(_matched(source, ours, encoder))
    total = sum(len(vocabulary.rows.here) for vocabulary in vocabularies)
    with Progress("Take over tables", total, "rows", enabled=model._verbose > 0) as progress:
        for field, there, _, rows in vocabularies:
            pairs = zip(
                table_rows(source.layout, there), table_rows(ours.layout, field), strict=True
            )
            for their_rows, our_rows in pairs:
                columns = table_columns(our_rows.width, *tables)
                target, shard = state[our_rows.tensor], shards.get(our_rows.tensor)
                copy_rows(file, their_rows, target, our_rows.first_id, rows, columns, shard)
            progress.update(len(rows.here))
    return {
        "tasks": {
            "matched": [label for label in ours.labels if label in theirs.labels],
            "new": [label for label in ours.labels if label not in theirs.labels],
            "gone": [label for label in theirs.labels if label not in ours.labels],
        },
        "tokens": {field: _counts(matched) for field, _, matched, _ in vocabularies},
        "fresh": fresh,
    }


def _matched(source: Source, ours: Anatomy, encoder: RowEncoder) -> Iterator[_Vocabulary]:
    """Yield the fields with learnt rows of their own."""
    layout = ours.layout
    for field in chain(layout.pretrained, *layout.tables):
        if not any(table_rows(layout, field)):
            continue
        there = source.layout.owners[field]
        matched = match_tokens(encoder.keys(field), source.encoder.keys(there))
        here_ids, their_ids = matched.here, matched.there
        if field in layout.pretrained:
            # Beyond the last token of train are those of the vectors' file alone: their rows are not
            # read, and not learnt.
            last, their_last = (
                side.features[name]["oov_idx"]
                for side, name in ((layout, field), (source.layout, there))
            )
            kept = (their_ids <= their_last) | (here_ids > last)
            here_ids, their_ids = here_ids[kept], their_ids[kept]
        # The unknown value's row goes to the unknown value's.
        unknown, their_unknown = encoder.unknown(field), source.encoder.unknown(there)
        assert unknown is not None
        assert their_unknown is not None
        rows = Rows(np.append(here_ids, unknown), np.append(their_ids, their_unknown))
        yield _Vocabulary(field, there, matched, rows)


def _counts(matched: Matched) -> dict[str, int]:
    count, new = len(matched.here), matched.new
    return {"tokens": count + new, "matched": count, "new": new, "gone": matched.gone}


def _text(record: Mapping[str, Any]) -> str:
    """Return what was matched, for people."""
    rows = [["field", "tokens", "matched", "new", "gone"]]
    for field, counts in record["tokens"].items():
        rows.append([field, *(f"{counts[key]:,}" for key in rows[0][1:])])
    lines = [f"Starts from the weights of {record['folder']}"]
    for key, labels in record["tasks"].items():
        if labels:
            more = {"new": " (start fresh)", "gone": " (not used)"}.get(key, "")
            lines.append(f"  tasks {key}{more}: {', '.join(labels)}")
    if record["fresh"]:
        lines.append(f"  weights that start fresh: {', '.join(record['fresh'])}")
    return "\n".join([*lines, text_table(rows, indent="  ")])

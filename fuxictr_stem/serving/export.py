"""A finished run as a folder that scores rows elsewhere: see `export_folder` for what it holds.

Nothing appears under its name before the programs in it have given the run's scores on real rows.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fuxictr_stem import results
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER, copy_encoder
from fuxictr_stem.errors import ConfigError, OutputError, raise_all, suggest
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.runtime.logs import tell
from fuxictr_stem.runtime.outputs import check_new_folder
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.runtime.whole_folder import file_account, fresh_folder, put_in_place, sealed
from fuxictr_stem.serving import export_folder, programs
from fuxictr_stem.serving.export_folder import (
    AOT,
    ENCODER,
    ENCODER_ACCOUNT,
    MANIFEST,
    ONNX,
    PROGRAM,
    TOLERANCES,
)
from fuxictr_stem.serving.export_trial import (
    RawRow,
    change_report,
    columns_of,
    raw_rows,
    test_metrics,
)
from fuxictr_stem.serving.int8_maps import shrink_maps
from fuxictr_stem.serving.rows_to_score import listed_names
from fuxictr_stem.serving.run import Run, load
from fuxictr_stem.serving.scoring_module import ScoringModule
from fuxictr_stem.serving.stored_rows import FLOAT32, INT8, STORED_AS

logger = logging.getLogger(__name__)

DEFAULT_FORMATS = ("onnx", "program")
FORMATS = (*DEFAULT_FORMATS, "aot")
NETWORKS = (FLOAT32, INT8)
_SHOWN_ROWS = 10
# By how much scores of a network in 8 bits may differ from the run's.
_INT8_CHANGE = 0.02


def export(
    run_folder: str | Path,
    out: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    tables: str = FLOAT32,
    network: str = FLOAT32,
) -> dict[str, Any]:
    """Export a finished run as a folder, which appears when it is complete and checked.

    Args:
        run_folder: The folder of the run, as for `load`.
        out: The folder; it must be new or empty.
        formats: Of the programs: ``onnx``, ``program`` (`torch.export`), ``aot`` (AOTInductor: compiled for
            this kind of CPU and this version of PyTorch).
        tables: How embedding tables are stored: ``float32``, ``float16``, or ``int8`` with a scale for each
            row of each table.
        network: How ONNX stores the weights of large dense maps: ``float32``, or ``int8``, which makes one
            row several times faster. Where tables or network are not float32, sizes and the change of each
            test metric are printed.

    Returns:
        The manifest.

    Raises:
        ConfigError: A format is unknown, or a package or the compiler for it is not installed.
        DataError: The run's folder is not whole, or has no raw rows.
        OutputError: The folder is not empty or cannot be written, or a program does not give the run's
            scores.
    """
    out, formats = Path(out), listed_names(formats)
    _check(out, formats, tables, network)
    run = load(run_folder)
    rows = raw_rows(run)
    columns = columns_of(run, rows)
    module = ScoringModule(run.model, _unknown(run), tables)
    sizes = {}
    smaller = {tables, network} != {FLOAT32}
    before = test_metrics(run) if smaller else None
    if tables != FLOAT32:
        stored = list(module.tables())
        sizes["Tables"] = (
            sum(t.original.nbytes for t in stored),
            sum(t.stored_bytes for t in stored),
        )
        for table in stored:
            table.round_original()
    expected: Mapping[str, Any] = _scores(run, columns)
    exported = run
    try:
        with fresh_folder(out) as fresh:
            written = _write_programs(fresh, module, columns, expected, formats)
            if network == INT8:
                sizes["Network"] = shrink_maps(written.model)
                programs.save_onnx(written, fresh / ONNX)
                shrunk = programs.load_onnx(fresh / ONNX)
                _compare(f"{ONNX} in int8", shrunk, columns, expected, _INT8_CHANGE)
                expected = shrunk(columns)
                scoring = _Shrunk(run.model.labels, shrunk)
                exported = replace(run, model=cast("MultiTaskNet", scoring))
            _write_weights(fresh, run, module, tables)
            copy_encoder(run.folder / ENCODER_FOLDER, fresh / ENCODER)
            manifest = _manifest(run, module, rows, expected, formats)
            manifest |= {"tables": tables, "network": network}
            manifest["encoder"] = file_account(fresh / ENCODER / ENCODER_ACCOUNT)
            files = (path for path in fresh.iterdir() if path.is_file())
            manifest = sealed(manifest, files)
            text = json.dumps(manifest, indent=2, allow_nan=False)
            (fresh / MANIFEST).write_text(text, encoding="utf-8")
            put_in_place(fresh, out)
    except OSError as error:
        raise OutputError(
            f"--out {out}: cannot be written: {error}. Free some space there, or choose another folder."
        ) from error
    if smaller:
        tell(change_report(sizes, before, test_metrics(exported)))
    logger.info("Exported to %s: %s", out, ", ".join([*manifest["files"], f"{ENCODER}/"]))
    return manifest


def _check(out: Path, formats: Sequence[str], tables: str, network: str) -> None:
    """Check what can be checked before any work."""
    problems = [
        f"--format: {name!r} is none of {', '.join(FORMATS)}.{suggest(name, FORMATS)}"
        for name in formats
        if name not in FORMATS
    ]
    if not formats:
        problems.append(f"--format: must name at least one of {', '.join(FORMATS)}.")
    for name, chosen, choices in (("tables", tables, STORED_AS), ("network", network, NETWORKS)):
        if chosen not in choices:
            problems.append(
                f"--{name}: {chosen!r} is none of {', '.join(choices)}.{suggest(chosen, choices)}"
            )
    if network == INT8 and set(formats) != {"onnx"}:
        problems.append("--network int8 works only with ONNX. Add --format onnx.")
    raise_all(ConfigError, "export", problems)
    if "onnx" in formats:
        programs.check_onnx()
    if "aot" in formats:
        programs.check_compiler()
    check_new_folder(out, "--out")


def _unknown(run: Run) -> dict[str, int]:
    ids = {name: run.encoder.unknown(name) for name in run.features}
    return {name: number for name, number in ids.items() if number is not None}


@torch.no_grad()
def _scores(run: Run, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's own scores in float32, (N,) each."""
    return {name: scores.flatten() for name, scores in run.model(dict(columns)).items()}


def _write_programs(
    fresh: Path,
    module: ScoringModule,
    columns: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    formats: Sequence[str],
) -> Any:
    """Write and try the programs; return the one in ONNX, if it is wanted."""
    written = None
    logger.info("Tracing the model")
    program = programs.trace(module, columns)
    if "program" in formats:
        programs.write_program(program, fresh / PROGRAM)
        _compare(PROGRAM, programs.load_program(fresh / PROGRAM), columns, expected)
    if "onnx" in formats:
        written = programs.to_onnx(program, module)
        programs.save_onnx(written, fresh / ONNX)
        _compare(ONNX, programs.load_onnx(fresh / ONNX), columns, expected)
    if "aot" in formats:
        logger.info("Compiling the model, which takes a minute or two")
        programs.write_compiled(program, fresh / AOT)
        _compare(AOT, programs.load_compiled(fresh / AOT, module.names), columns, expected)
    return written


@torch.no_grad()
def _compare(
    name: str,
    program: programs.Program,
    columns: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    tolerance: float = TOLERANCES[FLOAT32],
) -> None:
    """Compare what a program gives, for all rows and for one alone, with what it must give."""
    problems, largest = [], 0.0
    for rows in (slice(None), slice(0, 1)):
        scores = program({column: values[rows] for column, values in columns.items()})
        for output, must in expected.items():
            must = must[rows].double()
            off = (torch.as_tensor(scores[output]).double() - must).abs() / must.abs().clamp(min=1)
            worst = float(off.nan_to_num(torch.inf).max())
            largest = max(largest, worst)
            if worst > tolerance:
                at = int(off.nan_to_num(torch.inf).argmax())
                got = float(torch.as_tensor(scores[output])[at])
                problems.append(
                    f"{output} of row {at + 1} is {got:.8g}; the run gives {float(must[at]):.8g}."
                )
    if problems:
        advice = f"Scores may differ by {tolerance:g} at most. Nothing was written."
        raise_all(OutputError, f"{name} does not give the run's scores", [*problems, advice])
    count = len(next(iter(columns.values())))
    logger.info("%s gives the run's scores of %d rows, off by %.1g at most", name, count, largest)


def _write_weights(fresh: Path, run: Run, module: ScoringModule, tables: str) -> None:
    """Write the weights: the run's own file, or its tensors with the tables as they are stored."""
    path = fresh / export_folder.WEIGHTS
    if tables == FLOAT32:
        shutil.copyfile(run.folder / results.WEIGHTS, path)
        return
    stored = {table.original.data_ptr(): table for table in module.tables()}
    tensors: dict[str, Tensor] = {}
    for name, tensor in run.model.state_dict().items():
        table = stored.get(tensor.data_ptr())
        tensors[name] = tensor if table is None else table.get_buffer("weight")
        if table is not None and table.scale is not None:
            tensors[f"{name}.scale"] = table.scale
    save_file(tensors, path)


def _manifest(
    run: Run,
    module: ScoringModule,
    rows: Sequence[RawRow],
    expected: Mapping[str, Any],
    formats: Sequence[str],
) -> dict[str, Any]:
    """Return the manifest without the accounts of files and how weights are stored."""
    labels = dict(zip(module.outputs, run.tasks, strict=True))
    packages = versions()
    if "onnx" in formats:
        packages |= programs.onnx_versions()
    return {
        "format": export_folder.FORMAT,
        "experiment": run.params["model_id"],
        "dataset": run.params["dataset_id"],
        "model": run.params["model"],
        "versions": packages,
        "tasks": [
            {"label": label, "type": run.tasks[label], "output": output}
            for output, label in labels.items()
        ],
        "inputs": [_input(run, name) for name in module.names],
        "columns": run.encoder.raw_columns(run.features),
        **({"opset": programs.OPSET} if "onnx" in formats else {}),
        **({"machine": platform.machine()} if "aot" in formats else {}),
        "rows": [
            {
                "columns": row,
                "scores": {label: float(expected[output][i]) for output, label in labels.items()},
            }
            for i, row in enumerate(rows[:_SHOWN_ROWS])
        ],
    }


class _Shrunk(nn.Module):
    """A program in the place of a run's model."""

    device = torch.device("cpu")

    def __init__(self, labels: Sequence[str], program: programs.Program) -> None:
        super().__init__()
        self.labels, self._program = labels, program

    def forward(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        wide = {n: x.float() if x.is_floating_point() else x.long() for n, x in columns.items()}
        return {name: torch.as_tensor(x) for name, x in self._program(wide).items()}


def _input(run: Run, name: str) -> dict[str, Any]:
    spec = run.feature_map.features[name]
    content = {"name": name, "type": spec["type"], "width": run.encoder.width(name)}
    if "vocab_size" not in spec:
        return {**content, "dtype": "float32"}
    unknown = run.encoder.unknown(name)
    return {**content, "dtype": "int64", "ids": spec["vocab_size"], "unknown": unknown}

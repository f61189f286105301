"""A `ScoringModule` as a program: `torch.export`'s, ONNX, and machine code by AOTInductor.

All come from one trace, hold the weights and take any number of rows.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch._inductor import config
from torch._inductor.utils import fresh_inductor_cache
from torch.export import Dim, ExportedProgram

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.serving.scoring_module import ScoringModule

Program: TypeAlias = Callable[[Mapping[str, Tensor]], Mapping[str, Any]]
"""Columns to the tasks' scores, (N,) each, by output."""

OPSET = 18
# A file of ONNX can hold 2 GiB and is read into memory; weights in a file of their own are mapped.
_LARGE_BYTES = 1 << 28
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LOGGERS = ("torch.onnx", "torch.export", "torch._inductor", "onnxscript")
_COMPILED = {
    # Any CPU of this kind, not only those with the instructions of this one: nearly all of the time is in
    # the products, which are PyTorch's own and choose instructions where they run.
    "cpp.march": "",
    "cpp.simdlen": 1,
    "cpp.vec_isa_ok": False,
    # As many threads as there are where it runs.
    "cpp.dynamic_threads": True,
    # The code that calls the kernels: making it a little faster takes the compiler several times as long.
    "aot_inductor.compile_wrapper_opt_level": "O0",
    # These pay off only for those who compile often.
    "aot_inductor.precompile_headers": False,
    "cpp_cache_precompile_headers": False,
    "compile_threads": 1,
}


def check_onnx() -> None:
    """Check that what ONNX needs is installed, or raise a ConfigError."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--format onnx needs {', '.join(missing)}: pip install 'fuxictr_stem[export]'. Or leave onnx "
            f"out: --format program."
        )


def check_compiler() -> None:
    """Check that there is a C++ compiler, or raise a ConfigError."""
    names = [name for name in config.cpp.cxx if name]
    if not any(shutil.which(name) for name in names):
        raise ConfigError(
            f"--format aot needs a C++ compiler, and there is no {' or '.join(names)}. Install it (Debian: "
            "apt install g++), name another in the environment variable CXX, or leave aot out."
        )


def trace(module: ScoringModule, columns: Mapping[str, Tensor]) -> ExportedProgram:
    """Return a module as `torch.export` sees it, for any number of rows; ``columns`` hold two or more."""
    example = {name: columns[name] for name in module.names}
    # PyTorch 2.6 rejects a number of rows without an upper bound, and is strict by default.
    rows = {name: {0: Dim("rows", max=2**62)} for name in example}
    with quiet(), torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=(rows,), strict=False)
    for node in program.graph.nodes:
        # It holds the paths of our source files.
        node.meta.pop("stack_trace", None)
    return program


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a program for `torch.export.load`."""
    with quiet():
        torch.export.save(program, path)


def load_program(path: Path) -> Program:
    """Return a program that was just written as a function of the columns; it may hold a pickle."""
    with quiet():
        program = torch.export.load(path).module()
    return lambda columns: program(dict(columns))


def to_onnx(program: ExportedProgram, module: ScoringModule) -> torch.onnx.ONNXProgram:
    """Return a program as ONNX: an input for each column, an output for each task, named so.

    A column with the name of a task's scores is a ConfigError.
    """
    both = set(module.names) & set(module.outputs)
    if both:
        raise ConfigError(
            f"--format onnx: {', '.join(sorted(both))} is the name of both a column and a task's "
            "scores, which ONNX does not allow. Rename the column, or leave onnx out: --format program."
        )
    with quiet():
        written = torch.onnx.export(
            program, (), dynamo=True, optimize=True, verbose=False, opset_version=OPSET
        )
    assert written is not None
    graph = written.model.graph
    names = (*module.names, *module.outputs)
    # No inner value may have the name of a column.
    prefix = "/"
    while any(name.startswith(prefix) for name in names):
        prefix += "/"
    for value in list(graph.initializers.values()):
        value.name = f"{prefix}{value.name}"
    for node in graph:
        # These hold the paths of our source files.
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
            value.name = f"{prefix}{value.name}"
            if value not in graph.outputs:
                value.shape = None
    for value, name in zip((*graph.inputs, *graph.outputs), names, strict=True):
        value.metadata_props.clear()
        value.name = name
        assert value.shape is not None
        value.shape = type(value.shape)(["rows", *list(value.shape)[1:]])
    return written


def save_onnx(written: torch.onnx.ONNXProgram, path: Path) -> None:
    """Write a program in ONNX; large weights go into a file next to it, with ``.data`` after its name."""
    values = written.model.graph.initializers.values()
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    written.save(path, external_data=size > _LARGE_BYTES)


def load_onnx(path: Path) -> Program:
    """Return a model that onnxruntime runs as a function of the columns."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs, names = ([v.name for v in of()] for of in (session.get_inputs, session.get_outputs))

    def scores(columns: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return dict(
            zip(names, session.run(names, {n: columns[n].numpy() for n in inputs}), strict=True)
        )

    return scores


def write_compiled(program: ExportedProgram, path: Path) -> None:
    """Compile a program into a file for `torch._inductor.aoti_load_package`, or raise a ConfigError.

    What the compiler needs meanwhile is next to it.
    """
    # Some versions of PyTorch lack some of them.
    there = config.get_config_copy()
    settings: dict[str, Any] = {key: v for key, v in _COMPILED.items() if key in there}
    try:
        with quiet(), fresh_inductor_cache(dir=str(path.parent)):
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=settings
            )
    except RuntimeError as error:
        reason = " ".join(str(error).rpartition("Output:")[2].split())[-300:]
        raise ConfigError(
            f"--format aot: PyTorch {torch.__version__} cannot compile the model here: {reason} Nothing "
            "was written. Leave aot out, or install another C++ compiler."
        ) from error


def load_compiled(path: Path, names: Sequence[str]) -> Program:
    """Return a compiled program as a function of the columns, whose order is that of the program."""
    with quiet():
        compiled = torch._inductor.aoti_load_package(str(path))

    def scores(columns: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return compiled({name: columns[name].contiguous() for name in names})

    return scores


def onnx_versions() -> dict[str, str]:
    """Return the versions of what has written and checked a model in ONNX."""
    return {name: str(import_module(name).__version__) for name in _NEEDED}


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what torch's exporters say to their developers."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""A `ScoringModule`'s program as machine code, by AOTInductor: PyTorch's C++ runs it without Python."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config
from torch._inductor.utils import fresh_inductor_cache
from torch.export import ExportedProgram

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.serving.programs import Program, quiet

_SETTINGS = {
    # Any CPU of this kind, not only those with the instructions of this one: nearly all of the time is in
    # the products, which are PyTorch's own and choose instructions where they run.
    "cpp.march": "",
    "cpp.simdlen": 1,
    "cpp.vec_isa_ok": False,
    # As many threads as there are where it runs.
    "cpp.dynamic_threads": True,
    # What calls the kernels; the compiler takes several times as long to make it a little faster.
    "aot_inductor.compile_wrapper_opt_level": "O0",
    # They pay for those who compile often.
    "aot_inductor.precompile_headers": False,
    "cpp_cache_precompile_headers": False,
    "compile_threads": 1,
}


def check_compiler() -> None:
    """Check that there is a C++ compiler.

    Raises:
        ConfigError: There is none.
    """
    names = [name for name in config.cpp.cxx if name]
    if not any(shutil.which(name) for name in names):
        raise ConfigError(
            f"--format aot needs a C++ compiler, and there is no {' or '.join(names)}. Install it (Debian: "
            "apt install g++), name another in the environment variable CXX, or leave aot out."
        )


def write_compiled(program: ExportedProgram, path: Path) -> None:
    """Compile a program into a file for `torch._inductor.aoti_load_package`.

    What the compiler needs meanwhile is next to it.

    Raises:
        ConfigError: It cannot be compiled here.
    """
    # Of PyTorch's versions some have not all of them.
    there = config.get_config_copy()
    settings: dict[str, Any] = {key: v for key, v in _SETTINGS.items() if key in there}
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

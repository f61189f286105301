"""The command line: ``fuxictr_stem run`` (what run_expid.py calls), ``benchmark`` and the others.

Each command imports what it needs when it runs, so that --help and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fuxictr_stem
from fuxictr_stem.errors import ConfigError, choice_problems, raise_first
from fuxictr_stem.runtime import signals
from fuxictr_stem.runtime.group import is_first_process, started_by_torchrun
from fuxictr_stem.runtime.guarded import LOST_RANK_GOES_ON, RESUME_GOES_ON, run_guarded
from fuxictr_stem.runtime.logs import tell

if TYPE_CHECKING:
    from fuxictr_stem.serving.run import Run
    from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)

PACKAGED_CONFIG = Path(__file__).parent / "packaged" / "config"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, by the arguments without the program's name; return its exit code.

    It is 1 where an audit or a check of caches found something, 2 after a mistake that the user can fix,
    reported in one message, 130 after Ctrl-C, 143 after SIGTERM, and 129 after SIGHUP.
    """
    try:
        args = parser().parse_args(argv)
        if started_by_torchrun() and args.run not in _TOGETHER:
            raise ConfigError(f"`{args.name}` works in one process. Start it without torchrun.")
    except ConfigError as error:
        mistake = partial(_reject, error)
        return run_guarded(lambda: _on_ranks(mistake), "")
    return run_guarded(lambda: args.run(args), args.go_on)


def command_line(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command as a process of its own, and end it; arguments as of `main`."""
    signals.end_at_once()
    code = main(argv)
    if code > 128:
        signals.ignore()
    sys.exit(code)


def _on_ranks(work: Callable[[Ranks | None], None], advice: str = "", gpu: int = -1) -> None:
    """Do some work on all processes that `torchrun` has started, or in this one, which needs no PyTorch.

    ``advice`` is how to continue when one of them is lost; ``gpu`` is -1 for the CPU.
    """
    if not started_by_torchrun():
        work(None)
        return
    with signals.silent(not is_first_process()):
        from fuxictr_stem.distributed.session import run_on_ranks

    run_on_ranks(work, advice, gpu)


def _reject(error: ConfigError, ranks: Ranks | None) -> None:
    raise error


def _say_loading(what: str) -> None:
    if is_first_process():
        logger.info("Loading %s", what)


def _run(args: argparse.Namespace) -> None:
    if "torch" not in sys.modules:
        _say_loading("PyTorch and FuxiCTR")
    with signals.silent(not is_first_process()):
        from fuxictr_stem.experiment import run_experiment
        from fuxictr_stem.results import show

    def run(ranks: Ranks | None) -> None:
        result = run_experiment(
            args.config,
            args.expid,
            args.gpu,
            not args.no_stand_in,
            resume=args.resume,
            init_from=args.init_from,
            ranks=ranks,
        )
        if is_first_process():
            show(result)

    _on_ranks(run, LOST_RANK_GOES_ON, args.gpu)


def _prepare(args: argparse.Namespace) -> None:
    from fuxictr_stem.config.dataset_config import load_dataset
    from fuxictr_stem.config.problems import Problems
    from fuxictr_stem.config.reading import read_value
    from fuxictr_stem.config.value_types import FilePath
    from fuxictr_stem.data.preparers.run_job import prepare

    if args.raw_dir is not None:
        problems = Problems()
        read_value(FilePath, args.raw_dir, "--raw-dir", problems)
        if problems.lines:
            raise ConfigError(problems.lines[0])
    dataset = load_dataset(args.config, args.dataset)
    if "prepare" not in dataset:
        raise ConfigError(
            f"--dataset {args.dataset}: its config has no `prepare`, so there is nothing to do; "
            f"its files are {dataset['train_data']}, {dataset['valid_data']}."
        )
    if args.raw_dir is not None:
        dataset["prepare"]["raw_dir"] = args.raw_dir
    if args.allow_missing_log:
        dataset["prepare"]["allow_missing_log"] = True
    prepare(dataset)


def _benchmark(args: argparse.Namespace) -> None:
    from fuxictr_stem.benchmark.run_benchmark import run_benchmark

    # Unlike Path.resolve, it takes a circle of links, which is reported where the file is read.
    above = Path(os.path.realpath(args.config)).parent.parent
    nearest = above if any(above.glob("model_config*")) else _default_config()
    run_benchmark(args.config, args.out, args.config_dir or nearest, args.jobs, args.gpu)


def _init(args: argparse.Namespace) -> None:
    from fuxictr_stem.starter.write_project import init_project

    logger.info("Reading %s", ", ".join(args.data))
    columns = _names(args.labels), args.time, args.group
    tell(*init_project(args.data, *columns, args.sep, args.out))


def _tune(args: argparse.Namespace) -> None:
    from fuxictr_stem.benchmark.report.tuner_page import write_tuner_page
    from fuxictr_stem.tuning.run_tuner import run_tuner

    finished = run_tuner(args.config, args.tag, args.gpu)
    write_tuner_page(finished)
    tell(finished.table())
    tell(*finished.summary())


def _predict(args: argparse.Namespace) -> None:
    from fuxictr_stem.serving.score_files import check_place

    def predict(run: Run) -> None:
        rows = run.predict_to(args.out, args.data, _names(args.keep))
        logger.info("Wrote the scores of %s rows to %s", f"{rows:,}", args.out)

    _score(args, lambda: check_place(args.out), predict)


def _evaluate(args: argparse.Namespace) -> None:
    from fuxictr_stem.serving.score_files import check_place

    def check() -> None:
        if args.out is not None:
            check_place(args.out, endings=(".json",))

    def evaluate(run: Run) -> None:
        metrics = None if args.metrics is None else _names(args.metrics)
        evaluation = run.evaluate(args.data, metrics, args.by)
        if args.out is not None:
            evaluation.write(args.out)
        tell(str(evaluation))

    _score(args, check, evaluate)


def _score(
    args: argparse.Namespace, check: Callable[[], None], work: Callable[[Run], None]
) -> None:
    """Check arguments, then work with a run; all processes that `torchrun` has started score its rows."""

    def score(ranks: Ranks | None) -> None:
        if is_first_process():
            check()
        run = _loaded(args, ranks)
        if is_first_process():
            work(run)
        run.join()

    _on_ranks(score, "Nothing was written. Start the command again.", args.gpu)


def _embeddings(args: argparse.Namespace) -> None:
    fields = None if args.fields is None else _names(args.fields)
    files = _loaded(args).write_embeddings(args.out, fields)
    logger.info("Wrote %s", ", ".join(map(str, files)))


def _export(args: argparse.Namespace) -> None:
    _say_loading(f"PyTorch and the run {args.run_folder}")
    from fuxictr_stem.serving.export import export

    export(args.run_folder, args.out, _names(args.format), args.tables, args.network)


def _loaded(args: argparse.Namespace, ranks: Ranks | None = None) -> Run:
    _say_loading(f"PyTorch and the run {args.run_folder}")
    return fuxictr_stem.load(args.run_folder, args.gpu, ranks)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _audit(args: argparse.Namespace) -> int:
    from fuxictr_stem.analysis.audit import audit_experiment

    result = audit_experiment(args.config, args.expid)
    tell(str(result))
    return 1 if result.findings else 0


def _cache(args: argparse.Namespace) -> int:
    from fuxictr_stem.data.cache import cache_commands as commands

    caches = commands.find_caches(args.config, args.data_root, args.dataset)
    if args.action == "clear":
        return commands.clear_caches(caches, args.all, args.dry_run)
    return commands.list_caches(caches) if args.action == "list" else commands.verify_caches(caches)


def _keys(args: argparse.Namespace) -> None:
    from fuxictr_stem.key_list import SECTIONS, key_list, write_json_schemas

    if args.json_schema is not None:
        tell(*(f"Wrote {file}." for file in write_json_schemas(args.json_schema)))
        return
    for name in args.section:
        raise_first(choice_problems(f"keys {name}", name, SECTIONS))
    tell(*key_list(args.section or None))


def _list(args: argparse.Namespace) -> None:
    from fuxictr_stem.config.experiment_config import list_experiments

    ids = list_experiments(args.config)
    tell(f"Models: {', '.join(fuxictr_stem.list_models())}", "Experiment ids:")
    tell(*(f"  {expid}" for expid in ids))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, found {text!r}")
    return int(text)


def _separator(text: str) -> str:
    sep = "\t" if text in ("\\t", "tab") else text
    if len(sep) != 1 or not sep.isascii() or sep in '"\r\n':
        raise argparse.ArgumentTypeError(
            f"must be one ASCII character, such as ';', or tab, found {text!r}"
        )
    return sep


# What a command runs, and its help; a command of two words is an action of a group.
_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int | None] | None, str]] = {
    "init": (_init, "split the rows of a file of logs, and write configs for it"),
    "run": (_run, "train and test one experiment id"),
    "prepare": (_prepare, "split the official files of a dataset"),
    "benchmark": (_benchmark, "compare many experiments, and write a report"),
    "tune": (_tune, "search for the best settings of an experiment, by a FuxiCTR tuner file"),
    "predict": (_predict, "score rows with a finished run"),
    "evaluate": (_evaluate, "measure a finished run on labelled rows"),
    "embeddings": (_embeddings, "write the embedding vectors of a finished run, by raw value"),
    "export": (_export, "export a finished run as ONNX and other programs"),
    "audit": (_audit, "show which task's loss reaches which part of a model; needs no data"),
    "cache": (None, "list, verify or clear the caches of encoded data"),
    "cache list": (_cache, "list the caches, and whether the config still uses them"),
    "cache verify": (_cache, "read every cache; exit code 1 if one is damaged"),
    "cache clear": (_cache, "remove caches that are old, damaged or unfinished"),
    "keys": (_keys, "explain every key of the configs, with its default"),
    "list": (_list, "list the experiment ids and the models"),
}
# The commands that several processes do together.
_TOGETHER = (_run, _predict, _evaluate)
_SAME_COMMAND = "The same command continues it."
_GO_ON = {"run": RESUME_GOES_ON, "benchmark": _SAME_COMMAND, "tune": _SAME_COMMAND}

_CACHES = ["cache list", "cache verify", "cache clear"]
_FLAG: dict[str, Any] = {"action": "store_true"}
_NEEDED: dict[str, Any] = {"required": True}
_FOLDER: dict[str, Any] = {"type": Path}
_FILE: dict[str, Any] = {"type": Path, "metavar": "FILE"}
_LIST: dict[str, Any] = {"metavar": "NAME,NAME"}
_SCORES = ["predict", "evaluate"]
_RUNS = [*_SCORES, "embeddings"]
# An option, what argparse needs to know of it, its help, and the commands that have it.
_OPTIONS: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("--labels", {**_NEEDED, **_LIST}, "the columns to predict", ["init"]),
    (
        "--time",
        {"metavar": "COL"},
        "column of the time: the last two tenths become valid and test; by default rows are split "
        "at random",
        ["init"],
    ),
    (
        "--group",
        {"metavar": "COL"},
        "column of the groups of gAUC, such as the user; by default guessed from the names",
        ["init"],
    ),
    (
        "--sep",
        {"type": _separator, "metavar": "CHAR"},
        "separator of csv fields, such as ';' or tab; by default guessed from the first rows",
        ["init"],
    ),
    ("--out", _FOLDER | _NEEDED, "new folder for the configs", ["init"]),
    ("--expid", _NEEDED, "the experiment id, e.g. STEMNet_tiktok", ["run", "audit"]),
    (
        "--resume",
        _FLAG,
        "continue from the last saved state; a finished run only shows its result",
        ["run"],
    ),
    (
        "--no-stand-in",
        _FLAG,
        "stop if official files are absent, instead of running on synthetic data",
        ["run"],
    ),
    (
        "--init-from",
        {**_FOLDER, "metavar": "RUN_FOLDER"},
        "start from the weights of a finished run; table rows are matched by raw value",
        ["run"],
    ),
    ("--dataset", _NEEDED, "the dataset id, e.g. kuairand_pure", ["prepare"]),
    ("--raw-dir", {}, "folder of the official files", ["prepare"]),
    ("--allow-missing-log", _FLAG, "KuaiRand: continue with one of the two log files", ["prepare"]),
    ("--config", _FOLDER | _NEEDED, "the benchmark's YAML file", ["benchmark"]),
    ("--out", _FOLDER | _NEEDED, "folder for runs, leaderboard and report", ["benchmark"]),
    ("--config", _FILE | _NEEDED, "the tuner's YAML file", ["tune"]),
    (
        "--tag",
        {"metavar": "TEXT"},
        "run only trials with this text in their id, such as 001 for the first",
        ["tune"],
    ),
    (
        "--gpu",
        {"type": int, "nargs": "+", "default": [-1]},
        "one CUDA device for each trial that runs at the same time; -1 is the CPU",
        ["tune"],
    ),
    ("--jobs", {"type": _count, "default": 1}, "number of runs at the same time", ["benchmark"]),
    (
        "--run",
        {**_FOLDER, **_NEEDED, "dest": "run_folder", "metavar": "FOLDER"},
        "folder of a finished run: <model_root>/<dataset_id>/<expid>, or a copy of it",
        [*_RUNS, "export"],
    ),
    (
        "--data",
        {**_NEEDED, "nargs": "+", "metavar": "FILE"},
        "csv, tsv (also gzipped) or parquet files, folders of them, or patterns",
        [*_SCORES, "init"],
    ),
    ("--out", _FILE | _NEEDED, "file for the scores: .parquet or .csv", ["predict"]),
    ("--out", _FOLDER | _NEEDED, "new folder, for one parquet file per field", ["embeddings"]),
    ("--fields", _LIST, "the fields; by default all that have an embedding table", ["embeddings"]),
    ("--keep", {**_LIST, "default": ""}, "columns of the data to add to the scores", ["predict"]),
    ("--out", _FOLDER | _NEEDED, "new folder for the export", ["export"]),
    (
        "--format",
        {"default": "onnx,program", "metavar": "NAME,NAME"},
        "onnx, program (torch.export), aot (AOTInductor, needs a C++ compiler); by default onnx,program",
        ["export"],
    ),
    (
        "--tables",
        {"default": "float32", "metavar": "TYPE"},
        "how embedding tables are stored: float32, float16 or int8",
        ["export"],
    ),
    (
        "--network",
        {"default": "float32", "metavar": "TYPE"},
        "how ONNX stores large dense layers: float32, or int8, which is faster for single rows",
        ["export"],
    ),
    ("--metrics", _LIST, "metrics, e.g. AUC,gAUC; by default those of training", ["evaluate"]),
    ("--by", {"metavar": "COL"}, "also report the metrics for each value of COL", ["evaluate"]),
    ("--out", _FILE, "JSON file for the metrics", ["evaluate"]),
    (
        "--gpu",
        {"type": int, "default": -1},
        "the CUDA device; -1 is the CPU",
        ["run", "benchmark", *_RUNS],
    ),
    (
        "--config-dir",
        _FOLDER,
        "folder of the configs; by default the parent of the file's folder, if it has any",
        ["benchmark"],
    ),
    ("--dataset", {}, "only the caches of this dataset id", _CACHES),
    ("--data-root", _FOLDER, "folder of the caches; by default each dataset's data_root", _CACHES),
    ("--all", _FLAG, "also remove caches that the config uses", ["cache clear"]),
    ("--dry-run", _FLAG, "only show what would be removed", ["cache clear"]),
    ("section", {"nargs": "*"}, "experiment, dataset, feature, ...; by default all", ["keys"]),
    (
        "--json-schema",
        {**_FOLDER, "metavar": "FOLDER"},
        "write JSON schemas of the config files, for editors, into this folder instead",
        ["keys"],
    ),
    (
        "--config",
        _FOLDER,
        "folder of the configs; by default ./config if it has any, else those of the package",
        ["run", "prepare", "audit", "list", *_CACHES],
    ),
]


def _default_config() -> Path:
    # A folder of that name may hold projects of `init` alone.
    return Path("config") if any(Path("config").glob("model_config*")) else PACKAGED_CONFIG


class _Parser(argparse.ArgumentParser):
    """A parser whose errors several processes can report once."""

    def error(self, message: str) -> NoReturn:
        if started_by_torchrun():
            raise ConfigError(f"{self.prog}: {message}. Run {self.prog} --help for the options.")
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="fuxictr_stem", description="Multi-task models for FuxiCTR, run by experiment id."
    )
    parser.add_argument("--version", action="version", version=fuxictr_stem.__version__)
    levels = {"": parser.add_subparsers(dest="command", required=True)}
    for name, (run, text) in _COMMANDS.items():
        group, _, action = name.rpartition(" ")
        command = levels[group].add_parser(action, help=text)
        if run is None:
            levels[name] = command.add_subparsers(dest="action", required=True)
            continue
        command.set_defaults(
            name=name, run=run, go_on=_GO_ON.get(name, ""), config=_default_config()
        )
        for option, settings, meaning, commands in _OPTIONS:
            if name in commands:
                command.add_argument(option, help=meaning, **settings)
    return parser

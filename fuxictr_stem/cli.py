"""The command line: ``fuxictr_stem run`` (what run_expid.py calls), ``benchmark`` and the others."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import fuxictr_stem
from fuxictr_stem.runtime import signals
from fuxictr_stem.runtime.guarded import RESUME_GOES_ON, run_guarded
from fuxictr_stem.runtime.logs import tell

logger = logging.getLogger(__name__)

_GO_ON = {"run": RESUME_GOES_ON, "benchmark": "The same command goes on where it was."}

PACKAGED_CONFIG = Path(__file__).parent / "packaged" / "config"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fuxictr_stem", description="Multi-task models for FuxiCTR, run by experiment id."
    )
    parser.add_argument("--version", action="version", version=fuxictr_stem.__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="run one experiment id, from config to test metrics")
    run.add_argument("--expid", required=True, help="the experiment id, e.g. STEMNet_tiktok")
    run.add_argument("--gpu", type=int, default=-1, help="the CUDA device; -1 is the CPU")
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last saved state; a finished run only shows its result",
    )
    run.add_argument(
        "--no-stand-in",
        action="store_true",
        help="stop where official files are absent, rather than run on synthetic data",
    )

    prepare = commands.add_parser("prepare", help="make a dataset's splits from its official files")
    prepare.add_argument("--dataset", required=True, help="the dataset id, e.g. kuairand_pure")
    prepare.add_argument("--raw-dir", help="folder of the official files")
    prepare.add_argument(
        "--allow-missing-log",
        action="store_true",
        help="KuaiRand: go on with one of the two log files",
    )

    benchmark = commands.add_parser("benchmark", help="compare many experiments, with a report")
    benchmark.add_argument("--config", type=Path, required=True, help="the benchmark's YAML file")
    benchmark.add_argument(
        "--out", type=Path, required=True, help="folder of runs, leaderboard and report"
    )
    benchmark.add_argument("--jobs", type=_count, default=1, help="runs at a time")
    benchmark.add_argument("--gpu", type=int, default=-1, help="the CUDA device; -1 is the CPU")
    benchmark.add_argument(
        "--config-dir",
        type=Path,
        help="folder of the model and dataset configs; by default that above the file's, if it has some",
    )

    audit = commands.add_parser(
        "audit", help="show which task's loss reaches which part of a model; needs no data"
    )
    audit.add_argument("--expid", required=True, help="the experiment id, e.g. STEMNet_tiktok")

    caches = commands.add_parser("cache", help="list, verify or clear the caches of encoded data")
    actions = caches.add_subparsers(dest="action", required=True)
    of_caches = [
        actions.add_parser(
            "list", help="show each cache, and whether the config still asks for it"
        ),
        actions.add_parser("verify", help="read all of them; exit code 1 if a file is damaged"),
        actions.add_parser("clear", help="remove those that are old, damaged or unfinished"),
    ]
    for command in of_caches:
        command.add_argument("--dataset", help="only the caches of this dataset id")
        command.add_argument(
            "--data-root", type=Path, help="folder of the caches; by default those of the datasets"
        )
    of_caches[-1].add_argument("--all", action="store_true", help="remove whole ones, too")
    of_caches[-1].add_argument("--dry-run", action="store_true", help="only tell what would go")

    keys = commands.add_parser("keys", help="explain every key of the configs, with its default")
    keys.add_argument(
        "section", nargs="*", help="experiment, dataset, feature, ...; by default all"
    )

    ids = commands.add_parser("list", help="list the experiment ids and the models")
    for command in (run, prepare, audit, ids, *of_caches):
        command.add_argument(
            "--config",
            type=Path,
            help="folder of the configs; by default ./config, else the packaged ones",
        )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number >= 1, found {text!r}")
    return int(text)


def _config_dir(given: Path | None) -> Path:
    if given is not None:
        return given
    return Path("config") if Path("config").is_dir() else PACKAGED_CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments, without the program's name.

    Returns:
        0, or 1 where an audit or a check of caches found something, or 2 after a mistake that the
        user can fix, reported in one message, or 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    args = _parser().parse_args(argv)
    advice = _GO_ON.get(args.command, "")
    return run_guarded(lambda: _COMMANDS[args.command](args), advice)


def command_line(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command as a process of its own, and end it; arguments as of `main`."""
    signals.end_at_once()
    code = main(argv)
    if code > 128:
        signals.ignore()
    sys.exit(code)


def _run(args: argparse.Namespace) -> None:
    if "torch" not in sys.modules:
        logger.info("Loading PyTorch and FuxiCTR")
    # Imported here, so that --help and a mistyped option answer at once.
    from fuxictr_stem.errors import OutputError
    from fuxictr_stem.experiment import run_experiment
    from fuxictr_stem.results import result_table

    result = run_experiment(
        _config_dir(args.config),
        args.expid,
        args.gpu,
        allow_stand_in=not args.no_stand_in,
        resume=args.resume,
    )
    with suppress(OutputError):  # a console that is full ends no run: the files have it all
        tell(result_table(result))


def _prepare(args: argparse.Namespace) -> None:
    from fuxictr_stem.config import load_dataset
    from fuxictr_stem.config.checking import Problems, read_value
    from fuxictr_stem.config.kinds import PATH
    from fuxictr_stem.data.preparers import prepare
    from fuxictr_stem.errors import ConfigError

    if args.raw_dir is not None:
        problems = Problems()
        read_value(PATH, args.raw_dir, "--raw-dir", problems)
        if problems.lines:
            raise ConfigError(problems.lines[0])
    dataset = load_dataset(_config_dir(args.config), args.dataset)
    if "prepare" not in dataset:
        raise ConfigError(
            f"--dataset {args.dataset}: its config has no `prepare`, so its split files are its own: "
            f"{dataset['train_data']}, {dataset['valid_data']}."
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
    beside = above if any(above.glob("model_config*")) else None
    config_dir = _config_dir(args.config_dir or beside)
    run_benchmark(args.config, args.out, config_dir, args.jobs, args.gpu)


def _audit(args: argparse.Namespace) -> int:
    from fuxictr_stem.analysis.audit import audit_experiment

    result = audit_experiment(_config_dir(args.config), args.expid)
    tell(str(result))
    return 1 if result.findings else 0


def _cache(args: argparse.Namespace) -> int:
    from fuxictr_stem.data.cache import cache_commands as cache_command

    which = _config_dir(args.config), args.data_root, args.dataset
    if args.action == "clear":
        return cache_command.clear_caches(*which, args.all, args.dry_run)
    action = cache_command.list_caches if args.action == "list" else cache_command.verify_caches
    return action(*which)


def _keys(args: argparse.Namespace) -> None:
    from fuxictr_stem.errors import ConfigError, suggest
    from fuxictr_stem.key_list import SECTIONS, key_list

    for name in args.section:
        if name not in SECTIONS:
            raise ConfigError(
                f"keys {name}: must be one of {', '.join(SECTIONS)}.{suggest(name, SECTIONS)}"
            )
    tell(*key_list(args.section or None))


def _list(args: argparse.Namespace) -> None:
    from fuxictr_stem.config import list_experiments

    ids = list_experiments(_config_dir(args.config))
    tell(f"Models: {', '.join(fuxictr_stem.list_models())}", "Experiment ids:")
    tell(*(f"  {expid}" for expid in ids))


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "run": _run,
    "prepare": _prepare,
    "benchmark": _benchmark,
    "audit": _audit,
    "cache": _cache,
    "keys": _keys,
    "list": _list,
}

"""The command line: ``fuxictr_stem run`` (what run_expid.py calls) and ``fuxictr_stem prepare``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import fuxictr_stem
from fuxictr_stem.errors import UserError
from fuxictr_stem.logs import log_to_console

logger = logging.getLogger(__name__)

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
        "--no-stand-in",
        action="store_true",
        help="stop where official files are absent, rather than run on synthetic data",
    )

    prepare = commands.add_parser("prepare", help="make a dataset's splits from its official files")
    prepare.add_argument("--dataset", required=True, help="the dataset id, e.g. kuairand_pure")
    prepare.add_argument("--raw-dir", type=Path, help="folder of the official files")
    prepare.add_argument(
        "--allow-missing-log",
        action="store_true",
        help="KuaiRand: go on with one of the two log files",
    )

    ids = commands.add_parser("list", help="list the experiment ids and the models")
    for command in (run, prepare, ids):
        command.add_argument(
            "--config",
            type=Path,
            help="folder of the configs; by default ./config, else the packaged ones",
        )
    return parser


def _config_dir(given: Path | None) -> Path:
    if given is not None:
        return given
    return Path("config") if Path("config").is_dir() else PACKAGED_CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments, without the program's name.

    Returns:
        0, or 2 after a mistake that the user can mend, told in one message, or 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    return run_guarded(lambda: _COMMANDS[args.command](args))


def run_guarded(run: Callable[[], object]) -> int:
    """Run something with logging to the console; end a user's mistake in one message.

    Returns:
        The exit code, as of `main`.
    """
    log_to_console()
    try:
        run()
    except UserError as error:
        logger.debug("Stopped by a mistake of the user.", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.", file=sys.stderr)
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    # Imported here, so that --help and a mistyped option answer at once.
    from fuxictr_stem.experiment import run_experiment

    run_experiment(_config_dir(args.config), args.expid, args.gpu, not args.no_stand_in)


def _prepare(args: argparse.Namespace) -> None:
    from fuxictr_stem.config import load_dataset
    from fuxictr_stem.data.preparers import prepare
    from fuxictr_stem.errors import ConfigError

    dataset = load_dataset(_config_dir(args.config), args.dataset)
    if "prepare" not in dataset:
        raise ConfigError(
            f"--dataset {args.dataset}: its config has no `prepare`, so its split files are its own: "
            f"{dataset['train_data']}, {dataset['valid_data']}."
        )
    if args.raw_dir is not None:
        dataset["prepare"]["raw_dir"] = str(args.raw_dir)
    if args.allow_missing_log:
        dataset["prepare"]["allow_missing_log"] = True
    prepare(dataset)


def _list(args: argparse.Namespace) -> None:
    from fuxictr_stem.config import list_experiments

    print("Models:", ", ".join(fuxictr_stem.list_models()))
    print("Experiment ids:")
    for expid in list_experiments(_config_dir(args.config)):
        print(f"  {expid}")


_COMMANDS = {"run": _run, "prepare": _prepare, "list": _list}

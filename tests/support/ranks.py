"""Ranks of `torch.distributed` in processes of this machine, and models whose tables they split."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from fuxictr_stem import experiment
from fuxictr_stem.cli import command_line
from fuxictr_stem.distributed import session
from fuxictr_stem.distributed.split_model import split_tables
from fuxictr_stem.errors import DataError
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.registry import get_model
from fuxictr_stem.serving.predict import Predictor
from fuxictr_stem.training.ranks import Ranks
from tests.support.processes import at_once, start
from tests.support.project import result_of
from tests.support.small_models import (
    MIXED,
    SMALL,
    batch,
    categorical,
    feature_map,
    many_labels,
    sequence,
)

ROOT = Path(__file__).parents[2]
LONG = 900  # seconds, on a busy machine
STEP = 7  # rows of a batch that is not the last


def on_ranks(count, target, *args, backend="gloo"):
    """Call a function with (ranks, *args) on some ranks at once; return the results."""
    with tempfile.TemporaryDirectory() as folder:
        more = count, f"{folder}/store", backend, target, args
        arguments = [(number, *more) for number in range(count)]
        results = at_once(_on_rank, arguments, LONG)
    for result in results:
        assert not (isinstance(result, str) and result.startswith("Traceback")), result
    return results


class FileRanks(Ranks):
    """Ranks that need no more than `torch.distributed`."""

    def __init__(self, number, count):
        self.number, self.count = number, count
        self.host = self

    def from_first(self, work):
        return self.exchange(work() if self.is_first else None)[0]

    def exchange(self, value):
        values = [None] * self.count
        distributed.all_gather_object(values, value)
        return values


def _on_rank(number, count, store, backend, target, args):
    torch.set_num_threads(1)
    distributed.init_process_group(
        backend, init_method=f"file://{store}", rank=number, world_size=count
    )
    return target(FileRanks(number, count), *args)


def in_double():
    """Have this process compute in float64, also where the package asks for float32."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    from_numpy = torch.from_numpy
    torch.from_numpy = lambda x: from_numpy(x.astype("float64") if x.dtype == np.float32 else x)


def share(columns, number, count):
    """A rank's rows of a batch."""
    rows = len(columns["y0"])
    return {
        name: x[rows * number // count : rows * (number + 1) // count]
        for name, x in columns.items()
    }


def write_vectors(folder: Path) -> None:
    """Pretrained vectors of width 3 for eight ids, as a cache has them."""
    tokens = [f"w{i}" for i in range(1, 8)]
    values = np.random.default_rng(1).normal(size=(7, 3)).astype("float32")
    np.savez(folder / "vectors.npz", key=np.array(tokens), value=values)
    vocab = {"__PAD__": 0, **{token: i for i, token in enumerate(tokens, 1)}}
    (folder / "feature_vocab.json").write_text(json.dumps({"p": vocab, "q": vocab}))


_VECTORS = {"pretrained_emb": "vectors.npz", "pretrain_dim": 3, "oov_idx": 6}
# Every kind of column that a model takes.
KINDS = {
    **MIXED,
    "u": {**categorical(7), "padding_idx": None},
    "e": sequence(9, 2, feature_encoder="layers.MaskedSumPooling()"),
    "v": {"type": "embedding", "source": "", "pretrain_dim": 3},
    "p": categorical(8, freeze_emb=True, **_VECTORS),
    "q": categorical(8, freeze_emb=False, pretrain_usage="sum", **_VECTORS),
}


def columns_of(name: str, folder: Path):
    """A feature map of all kinds of columns for a model."""
    return feature_map(KINDS, labels=many_labels(name), data_dir=folder)


def uneven_batch(fmap, number: int):
    """A batch: every tenth has one row, every fifth no label of the last task, and others lack some."""
    columns = {
        name: x[: 1 if number % 10 == 9 else STEP]
        for name, x in batch(fmap, size=STEP, seed=number).items()
    }
    rng = torch.Generator().manual_seed(number)
    last = columns[fmap.labels[-1]]
    last[torch.rand(len(last), generator=rng) < 0.3] = torch.nan
    if number % 5 == 4:
        last[:] = torch.nan
    columns["w"] = torch.rand(len(last), generator=rng)
    return columns


def first_model(name: str, fmap, ranks, exchange_precision="fp32", **params):
    """A model as a run begins with it, its tables split unless the ranks are None."""
    torch.manual_seed(5)
    settings = {
        "embedding_dim": 3,
        "embedding_regularizer": 1e-2,
        "net_regularizer": 1e-3,
        "learning_rate": 1e-2,
        "embedding_initializer": "partial(nn.init.normal_, std=0.5)",
        **SMALL[name],
        **params,
    }
    if ranks is None:
        return get_model(name)(fmap, **settings)
    with rows_split(ranks.number, ranks.count):
        model = get_model(name)(fmap, **settings)
    split_tables(model, ranks, exchange_precision)
    return model


def run_as_rank(options):
    """Run the project's experiment as a rank does, or a command, with the faults that variables ask for.

    ANSWER_SECONDS: how long ranks wait for one that does not answer. WRONG_RANK: one that makes a mistake,
    whenever it is started. AT_STEP, such as "33 1 SIGKILL": what rank 1, or each for "all", does to itself
    before its 33rd step, or part of a block to score; SIGTERM it sends to torchrun. After a comma, what
    happens to ranks that torchrun has started again.
    """
    environment = os.environ
    if "ANSWER_SECONDS" in environment:
        session.TIMEOUT = timedelta(seconds=int(environment["ANSWER_SECONDS"]))
    if environment.get("WRONG_RANK") == environment["RANK"]:
        experiment.make_loader = _no_file
    faults = dict(enumerate(environment.get("AT_STEP", "").split(",")))
    fault = faults.get(int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")))
    if fault:
        step, rank, name = fault.split()
        if rank in ("all", environment["RANK"]):
            _signal_at(int(step), getattr(signal, name))
    if not options or options[0].startswith("--"):
        options = ["run", "--config", "config", "--expid", "toy_test", *options]
    command_line(options)


def _no_file(*args, **more):
    raise DataError("The file of this rank is not there.")


def _signal_at(step, number):
    steps = itertools.count(1)

    def counted(original):
        def call(*args):
            if next(steps) == step:
                os.kill(os.getppid() if number == signal.SIGTERM else os.getpid(), number)
            return original(*args)

        return call

    MultiTaskNet.train_step = counted(MultiTaskNet.train_step)
    Predictor._run = counted(Predictor._run)


LAUNCH = """
import sys
from tests.support.ranks import run_as_rank

run_as_rank(sys.argv[1:])
"""


class Torchrun:
    """Runs of a project's experiment, or commands, under `torchrun`, on two ranks by default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "launch.py").write_text(LAUNCH)

    def start(self, *options, ranks=2, restarts=0, **variables):
        """Start a run; its standard error goes to a file. Variables are those of `run_as_rank`."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--max-restarts", str(restarts)]
        command += ["--nproc-per-node", str(ranks), "--", "launch.py", *options]
        with (
            (self.folder / "stderr").open("w") as stderr,
            (self.folder / "stdout").open("w") as out,
        ):
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stderr=stderr, stdout=out
            )

    def said(self):
        return (self.folder / "stderr").read_text()

    def wait_for(self, text, process, seconds=120):
        """Wait until a run has said something."""
        end = time.monotonic() + seconds
        while text not in self.said():
            assert process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)

    def end(self, process, seconds=120):
        """Wait for the end of a run; return what it has said."""
        process.wait(seconds)
        return self.said()


class Forked(Torchrun):
    """The same without `torchrun`, in a tenth of the time: ranks of a process that has imported all.

    Nobody ends a rank when another one fails.
    """

    def start(self, *options, ranks=2, **variables):
        """Start a run; as `Torchrun.start`, without restarts."""
        for name in ("stderr", "stdout"):
            (self.folder / name).write_text("")
        return ForkedRun(self.folder, options, ranks, variables)


class ForkedRun:
    """The ranks of a run, with the store of keys that torchrun would keep.

    Attributes:
        ranks: Their processes.
    """

    def __init__(self, folder, options, count, variables):
        self._store = distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        shared = {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            **variables,
        }
        self.ranks = [
            start(_as_forked_rank, folder, {**shared, "RANK": rank, "LOCAL_RANK": rank}, options)
            for rank in map(str, range(count))
        ]

    def drop_store(self):
        """Lose the keys, as when torchrun is killed."""
        self._store = None

    def wait(self, seconds):
        """Wait until all ranks have ended."""
        end = time.monotonic() + seconds
        for process in self.ranks:
            process.join(max(0, end - time.monotonic()))
            assert process.exitcode is not None, "a rank is stuck"

    def poll(self):
        """Return None while a rank runs."""
        return None if None in self.exit_codes else self.returncode

    @property
    def exit_codes(self):
        """Of the ranks; those of signals are negative."""
        return [process.exitcode for process in self.ranks]

    @property
    def returncode(self):
        """0 when all ranks have ended well."""
        return int(any(self.exit_codes))


def _as_forked_rank(folder, environment, options):
    for name, handle in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_APPEND), handle)
    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(1)
    run_as_rank(options)


def outcome(project):
    """What a run has found, without what differs from run to run."""
    return {key: result_of(project)[key] for key in ("valid", "test", "epochs", "evaluations")}


def close(ours, theirs, path=""):
    """Numbers equal to rounding, all else exactly; AUCs to a few pairs that rounding may tie."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), path
        for key, value in ours.items():
            close(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        for index, value in enumerate(ours):
            close(value, theirs[index], f"{path}[{index}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=2e-2 if "AUC" in path else 1e-5), path
    else:
        assert ours == theirs, path


def process_of_rank(agent, number):
    """The process id of a rank that torchrun has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and f"RANK={number}".encode() in (
                path / "environ"
            ).read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(f"no rank {number}")


def ends(forked, codes, *options, **more):
    """Run until all ranks have ended; return what they have said."""
    run = forked.start(*options, **more)
    said = forked.end(run)
    assert run.exit_codes == codes, said
    return said

"""Files that are written are complete or absent: results, predictions, weights and csv lines."""

import json
import os
import resource
import signal
import stat
import time

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from fuxictr_stem.errors import OutputError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.whole_folder import fresh_folder, put_in_place
from fuxictr_stem.training.evaluation import Predictions
from fuxictr_stem.training.predictions_file import write_predictions
from fuxictr_stem.training.weights import open_tensors
from tests.support.processes import CONTEXT, SECONDS, alone, start


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def predictions(rows):
    values = {"y": np.linspace(0, 1, rows)}
    return Predictions(y_true=values, y_pred=values, group_id=None)


class Net(torch.nn.Linear):
    """Weights that are all one number; saved and loaded as our models'."""

    save_weights = MultiTaskNet.save_weights
    load_weights = MultiTaskNet.load_weights
    device = torch.device("cpu")
    _save = None
    _opener = staticmethod(open_tensors)

    def __init__(self, value, width=100):
        super().__init__(width, width)
        for parameter in self.parameters():
            torch.nn.init.constant_(parameter, value)


# What writes a file, by its name; a second call has something else to write.
WRITERS = {
    "result.json": lambda path, n: outputs.write_json(path, {"rows": list(range(4000 + n))}),
    "predictions_test.parquet": lambda path, n: write_predictions(path, predictions(30_000 + n)),
    "model.safetensors": lambda path, n: Net(n).save_weights(str(path)),
}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_files_have_the_permissions_that_the_umask_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        for name, write in WRITERS.items():
            write(tmp_path / name, 0)
        with fresh_folder(tmp_path / "folder") as fresh:
            save_file({"a": torch.zeros(1)}, fresh / "model.safetensors")
            (fresh / "text").touch()
            put_in_place(fresh, tmp_path / "folder")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == len(WRITERS) + 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """A file that is there, and what writes it anew."""
    path = tmp_path / request.param
    WRITERS[request.param](path, 0)
    return path


def write_again(path):
    WRITERS[path.name](path, 1)


def test_a_file_is_replaced_and_no_other_is_left(written):
    before = written.read_bytes()
    write_again(written)
    assert written.read_bytes() != before
    assert names(written.parent) == [written.name]


def write_with_limit(path, most_bytes):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        write_again(path)
    except OutputError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return "written"


@pytest.mark.slow
def test_a_full_disk_leaves_the_file_as_it_was(written):
    """A limit of the system stands for the disk: it cuts off in the middle of the file."""
    before = written.read_bytes()
    told = alone(write_with_limit, written, len(before) // 2)
    assert f"The file {written} cannot be written" in told
    assert "File too large" in told
    assert written.read_bytes() == before
    assert names(written.parent) == [written.name]


def die_when_written(path, _):
    os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGXFSZ)
    die_in_the_middle(path, resource.RLIM_INFINITY)


def die_in_the_middle(path, most_bytes):
    """Be killed by the system at that size of a file, whoever writes it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    write_again(path)


@pytest.mark.parametrize("die", [die_in_the_middle, die_when_written])
def test_a_killed_writer_leaves_the_file_as_it_was_and_the_next_run_cleans_up(written, die):
    before = written.read_bytes()
    process = start(die, written, len(before) // 2)
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGXFSZ
    assert written.read_bytes() == before
    assert len(names(written.parent)) == 2
    outputs.remove_temporaries(written.parent)
    assert names(written.parent) == [written.name]


def test_a_users_own_files_are_no_temporaries(tmp_path):
    kept = ["a.tmp", "a.tmp-1", "a.tmp-1-backup", "notes.tmp-12-DEADBEEF", ".tmp-1-deadbeef"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / "result.json.tmp-1-deadbeef").mkdir()
    (tmp_path / "result.json.tmp-1-deadbeef" / "result.json").write_text("half")
    (tmp_path / "model.safetensors.tmp-2-deadbeef").write_text("another name of the weights")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    (tmp_path / "result.json.tmp-3-deadbeef").symlink_to(tmp_path / "elsewhere")
    outputs.remove_temporaries(tmp_path)
    assert names(tmp_path) == sorted([*kept, "elsewhere"])
    assert names(tmp_path / "elsewhere") == ["precious"]


def save_in_turn(path, ended):
    value = 0
    while not ended.is_set():
        Net(value := (value + 1) % 7).save_weights(str(path))


def test_weights_that_are_overwritten_while_they_are_read_are_never_mixed(tmp_path):
    path, ended = tmp_path / "model.safetensors", CONTEXT.Event()
    Net(0).save_weights(str(path))
    writers = [start(save_in_turn, path, ended) for _ in range(2)]
    net, seen = Net(0), set()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            net.load_weights(str(path))
            found = {x for p in net.parameters() for x in p.detach().unique().tolist()}
            assert len(found) == 1
            seen |= found
            if len(seen) > 4:
                break
    finally:
        ended.set()
        for writer in writers:
            writer.join(SECONDS)
    assert len(seen) > 4, "nobody wrote meanwhile: the test shows nothing"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda path: path.symlink_to("none/config.csv"), "No such file"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is a pipe"),
    ],
)
def test_what_no_line_can_be_appended_to_is_found_before(tmp_path, made, reason):
    path = tmp_path / "config.csv"
    made(path)
    with pytest.raises(OutputError, match=f"config.csv cannot be written: .*{reason}"):
        outputs.check_appendable(path)


def test_a_link_to_a_file_that_is_not_there_yet(tmp_path):
    (tmp_path / "config.csv").symlink_to("later.csv")
    outputs.check_appendable(tmp_path / "config.csv")
    assert not (tmp_path / "later.csv").exists()


def test_what_was_written_reads_back(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name, 0)
    assert json.loads((tmp_path / "result.json").read_text())["rows"][-1] == 3999
    assert pl.read_parquet(tmp_path / "predictions_test.parquet").shape == (30_000, 2)
    assert load_file(tmp_path / "model.safetensors")["weight"].shape == (100, 100)

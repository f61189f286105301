"""Runs on two hosts, each with its own torchrun and its own folder; both are this machine."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.support.project import result_of
from tests.support.ranks import ROOT, close

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return str(bound.getsockname()[1])


def on_hosts(folders, *command, ranks):
    """Run a command in each folder at once, as the hosts of one run; return codes and what was said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    port, processes = free_port(), []
    for number, folder in enumerate(folders):
        start = ["-m", "torch.distributed.run", "--nnodes", str(len(folders))]
        start += ["--node-rank", str(number), "--nproc-per-node", str(ranks[number])]
        start += ["--master-addr", "localhost", "--master-port", port]
        process = subprocess.Popen(
            [sys.executable, *start, "-m", "fuxictr_stem", *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    said = [process.communicate(timeout=200)[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_two_hosts_without_a_shared_folder(project):
    project.model |= {"epochs": 3, "state_steps": 7, "early_stop_patience": 9}
    assert project.run() == 0
    expected = result_of(project)
    shutil.rmtree("checkpoints")
    shutil.rmtree("data")
    other = project.folder / "other"
    other.mkdir()
    for name in ("train.csv", "valid.csv", "test.csv", "config"):
        copy = shutil.copytree if name == "config" else shutil.copy2
        copy(name, other / name)
    run = ["run", "--config", "config", "--expid", "toy_test"]
    codes, said = on_hosts([project.folder, other], *run, ranks=[1, 2])
    assert codes == [0, 0], said
    assert said[0].count("Start training") == 1
    # torchrun may have something to say there.
    assert not re.search(r"^(\d\d:\d\d:\d\d |error: )", said[1], flags=re.M), said[1]
    for key in ("valid", "test", "evaluations"):
        close(result_of(project)[key], expected[key])
    caches = [
        list((home / "data" / "toy").glob("*/manifest.json")) for home in (project.folder, other)
    ]
    assert [len(found) for found in caches] == [1, 1]
    assert caches[0][0].parent.name == caches[1][0].parent.name
    assert not (other / "checkpoints").exists()

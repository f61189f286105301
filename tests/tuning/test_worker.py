"""A run does not outlive the benchmark that started it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = """
import multiprocessing, time
from fuxictr_stem.tuning.worker import end_with_parent
process = multiprocessing.get_context("forkserver").Process(target=end_with_parent)
process.start()
print(process.pid, flush=True)
time.sleep(600)
"""


def is_running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_run_ends_with_a_benchmark_that_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK], stdout=subprocess.PIPE, text=True
    ) as benchmark:
        run = int(benchmark.stdout.readline())
        assert is_running(run)
        benchmark.kill()
    deadline = time.monotonic() + 60
    while is_running(run):
        assert time.monotonic() < deadline
        time.sleep(0.05)

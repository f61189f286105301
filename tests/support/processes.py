"""Processes that begin at the same moment, and processes that are killed."""

import importlib
import multiprocessing
import os
import signal
import traceback
from multiprocessing.context import BaseContext
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# What takes seconds to import is imported once. The server starts in any folder, without our `sys.path`.
ROOT = str(Path(__file__).parents[2])
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
CONTEXT.set_forkserver_preload(
    ["fuxictr_stem.experiment", "fuxictr_stem.data.encoding.fit", "torch._dynamo", "pytest"]
    + ["tests.support.frozen"]
)
# There is one server: a benchmark in this process must not replace the list by its own.
BaseContext.set_forkserver_preload = lambda context, names: None
SECONDS = 100


def start(target, *args):
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def at_once(target, arguments, seconds=SECONDS):
    """Call a function in a process for each of the arguments, all at once; return the results."""
    barrier, queue = CONTEXT.Barrier(len(arguments)), CONTEXT.Queue()
    jobs = enumerate(arguments)
    processes = [start(_report, queue, i, barrier, target, args) for i, args in jobs]
    found = dict(queue.get(timeout=seconds) for _ in processes)
    for process in processes:
        process.join(SECONDS)
    return [found[i] for i in range(len(arguments))]


def alone(target, *args, seconds=SECONDS):
    """Call a function in a process of its own; return the result."""
    return at_once(target, [args], seconds)[0]


def _report(queue, index, barrier, target, args):
    barrier.wait(SECONDS)
    try:
        queue.put((index, target(*args)))
    except BaseException:
        queue.put((index, traceback.format_exc()))


def killed_at(place, target, *args):
    """Call a function in a process that is killed as soon as it calls another one."""
    process = start(_die_at, place, target, args)
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL, f"{place} was never called"


def _die_at(place, target, args):
    module, name = place.rsplit(":", 1)
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    target(*args)

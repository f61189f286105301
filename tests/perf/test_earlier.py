"""This tree against an earlier commit: which code is measured, and what the figures say."""

import subprocess
from dataclasses import replace

from perf import earlier
from perf.sizes import QUICK

SIZES = replace(QUICK, rounds=2, loader_rows=100, csv_rows=(100, 50), table_rows=(2_000,))

SIDES = """
from fuxictr_stem.speed import SECONDS, LOSS
class Training:
    def __init__(self, setting, kind, keep_memory): pass
    def steps(self, count): return SECONDS, [LOSS] * count
class Ours:
    def __init__(self, path, rows, batch_size, budget): pass
    def epoch(self): return SECONDS
class Encoding:
    def __init__(self, dataset): self.place = __import__("pathlib").Path(dataset["data_root"])
    def ours(self): self.place.mkdir(parents=True); return SECONDS
"""


def _write(repository, package, seconds, loss):
    (repository / "fuxictr_stem").mkdir(exist_ok=True)
    (repository / "fuxictr_stem" / "speed.py").write_text(f"SECONDS, LOSS = {seconds}, {loss}")
    (repository / package).mkdir()
    for name in ("fuxictr_stem", package):
        (repository / name / "__init__.py").touch()
    for module in ("sides", "loading", "caching"):
        (repository / package / f"{module}.py").write_text(SIDES)
    entry = repository / "model_zoo" / "multitask" / "STEMNet"
    entry.mkdir(parents=True, exist_ok=True)
    (entry / "run_expid.py").write_text("import fuxictr_stem.speed")


def test_each_tree_is_measured_by_its_own_code(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=repository, check=True, capture_output=True)

    git("init")
    _write(repository, "benchmarks", seconds=2.0, loss=0.5)
    git("add", ".")
    git("commit", "-m", "earlier")
    git("tag", "before")
    git("rm", "-r", "benchmarks")
    _write(repository, "perf", seconds=3.0, loss=0.5)
    monkeypatch.setattr(earlier, "ROOT", repository)
    (tmp_path / "work").mkdir()
    figures = {r.what: r for r in earlier.compare(SIZES, tmp_path / "work", "before")}
    measured = [w for w in figures if "time over" in w and not w.startswith("a run")]
    assert len(measured) == 5
    assert {(figures[what].value, figures[what].met) for what in measured} == {(1.5, False)}
    assert {r.value for what, r in figures.items() if what.startswith("losses")} == {0}
    assert figures["a run, cached, 100 rows, start to exit, now"].value > 0

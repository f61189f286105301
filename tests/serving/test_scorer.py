"""Raw rows in, scores out, without PyTorch: every kind of input, one row or many, from many threads."""

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fuxictr_stem
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime.whole_folder import digest
from fuxictr_stem.serving import Scorer, scorer
from tests.support.served import COLUMNS, GOOD, LABELS, assert_scores

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


def test_scores_are_those_of_the_run(served, loaded, rows):
    assert loaded.tasks == LABELS
    assert sorted(loaded.columns) == sorted(COLUMNS)
    assert_scores(loaded.score(rows), fuxictr_stem.load(served.run.folder).predict(rows))
    assert_scores(loaded.score(served.run.test), served.run.saved())


def test_a_row_alone_gets_its_score_among_others(loaded, rows):
    expected = loaded.score(rows)
    for place, row in enumerate(rows.to_dicts()):
        for alone in (row, [row], rows[place], {**row, "more": [1, 2]}):
            scores = loaded.score(alone)
            for label in LABELS:
                assert scores[label].shape == (1,)
                assert scores[label][0] == pytest.approx(expected[label][place], abs=1e-6)


def test_what_was_returned_stays_as_it_is(loaded, rows):
    first, second = rows.to_dicts()[:2]
    scores = loaded.score(first)
    before = {label: values.copy() for label, values in scores.items()}
    loaded.score(second)
    assert scores == before


def test_blocks_do_not_matter(loaded, rows, monkeypatch):
    expected = loaded.score(rows)
    monkeypatch.setattr(scorer, "BLOCK_ROWS", 7)
    for label, values in loaded.score(rows).items():
        np.testing.assert_allclose(values, expected[label], atol=1e-6, rtol=0)


def test_threads_get_what_one_gets(loaded, rows):
    alone = [[loaded.score(row)[label].item() for label in LABELS] for row in rows.to_dicts()]
    together = loaded.score(rows)
    at_once = threading.Barrier(8)

    def work(number):
        at_once.wait()
        found = []
        for row in rows.to_dicts():
            found.append([loaded.score(row)[label].item() for label in LABELS])
            frame = loaded.score(rows)
            assert all(np.array_equal(frame[label], together[label]) for label in LABELS)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(work, range(8)))


# In a process of its own, as a service would be.
LIGHT = """
import sys, time
start = time.perf_counter()
from fuxictr_stem.serving import Scorer
scorer = Scorer(sys.argv[1])
import polars as pl
row = {row}
columns = dict((name, [value]) for name, value in row.items())
for rows in (row, [row, row], columns, pl.DataFrame(columns)):
    print(*scorer.score(rows)["like"])
heavy = ("torch", "fuxictr", "ray", "sklearn", "pandas", "onnx", "pydantic", "h5py", "scipy")
print(sorted(set(sys.modules) & set(heavy)))
"""


def test_a_service_loads_nothing_heavy(served, loaded, tmp_path):
    """Nor does it need anything but the folder."""
    shutil.copytree(served.folder, tmp_path / "elsewhere")
    code = LIGHT.replace("{row}", repr(GOOD))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "elsewhere")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *scores, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert done.stderr == ""
    expected = float(loaded.score(GOOD)["like"][0])
    assert [len(line.split()) for line in scores] == [1, 2, 1, 1]
    assert all(float(s) == pytest.approx(expected) for line in scores for s in line.split())


def test_without_onnxruntime_it_says_what_to_install(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'fuxictr_stem\[export\]'"):
        Scorer(served.folder)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_are_a_positive_number(served, threads):
    with pytest.raises(ConfigError, match="threads must be"):
        Scorer(served.folder, threads=threads)


def test_one_thread_scores_the_same(served, loaded, rows):
    for label, values in Scorer(served.folder, threads=1).score(rows).items():
        np.testing.assert_allclose(values, loaded.score(rows)[label], atol=1e-6, rtol=0)


def files_of(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_a_damaged_file_is_named(served, tmp_path, how):
    names = [n for n in files_of(served.folder) if n in ("manifest.json", "model.onnx") or "/" in n]
    assert len(names) > 4
    for name in names:
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(served.folder, folder)
        path, content = folder / name, (served.folder / name).read_bytes()
        path.unlink()
        if how == "bit":
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        elif how == "cut":
            path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError) as caught:
            Scorer(folder)
        assert Path(name).name in str(caught.value), name


def change(path, edit):
    """Change an account so that it is whole in itself."""
    account = json.loads(path.read_text())
    del account["digest"]
    edit(account)
    path.write_text(json.dumps({**account, "digest": digest(account)}))


def test_another_encoder_is_not_taken(served, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(served.folder, folder)
    change(folder / "encoder" / "encoder.json", lambda account: account.update(more=1))
    with pytest.raises(DataError, match=r"encoder\.json"):
        Scorer(folder)


def test_a_machine_that_computes_something_else_is_found(served, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(served.folder, folder)

    def edit(manifest):
        manifest["rows"][3]["scores"]["view"] += 1e-4

    change(folder / "manifest.json", edit)
    with pytest.raises(DataError, match=r"row 4 .* 'view'"):
        Scorer(folder)


def test_a_folder_that_is_no_export(tmp_path, served):
    for folder in (tmp_path, tmp_path / "nowhere", served.run.folder):
        with pytest.raises(DataError, match="no exported run"):
            Scorer(folder)

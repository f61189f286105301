"""Raw rows in, scores out, without PyTorch: every kind of input, one row or many, from many threads."""

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fuxictr_stem
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime.whole_folder import digest
from fuxictr_stem.serving import Scorer, scorer

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

LABELS = ["like", "view"]
COLUMNS = ["user", "item", "age", "tags", "author"]


@pytest.fixture(scope="module")
def loaded(served):
    return Scorer(served.folder)


@pytest.fixture
def rows(served):
    """Rows with some values missing and some that train had not."""
    return (
        served.run.test.select(COLUMNS)
        .head(60)
        .with_columns(
            user=pl.when(pl.int_range(60) % 7 == 3).then(None).otherwise("user"),
            item=pl.when(pl.int_range(60) % 11 == 5).then(pl.lit("new")).otherwise("item"),
        )
    )


def assert_scores(scores, expected):
    assert list(scores) == LABELS
    for label in LABELS:
        assert scores[label].dtype == np.float32
        np.testing.assert_allclose(scores[label], expected[f"{label}_pred"], atol=1e-5, rtol=0)


def test_scores_are_those_of_the_run(served, loaded, rows):
    assert loaded.tasks == LABELS
    assert sorted(loaded.columns) == sorted(COLUMNS)
    assert_scores(loaded.score(rows), fuxictr_stem.load(served.run.folder).predict(rows))
    assert_scores(loaded.score(served.run.test), served.run.saved())


@pytest.mark.parametrize(
    "kind",
    [
        "lazy polars",
        "pandas",
        "Arrow",
        "lists",
        "arrays",
        "rows",
        "tuple of rows",
        "other order and more columns",
    ],
)
def test_every_kind_of_rows(loaded, rows, kind):
    expected = {f"{k}_pred": v for k, v in loaded.score(rows).items()}
    lists = rows.to_dict(as_series=False)
    as_kind = {
        "lazy polars": rows.lazy(),
        "pandas": rows.to_pandas(),
        "Arrow": rows.to_arrow(),
        "lists": lists,
        "arrays": {**rows.to_dict(), "age": rows["age"].to_list(), "user": rows["user"].to_numpy()},
        "rows": rows.to_dicts(),
        "tuple of rows": tuple(rows.to_dicts()),
        "other order and more columns": {"more": 1, **dict(reversed(lists.items()))},
    }[kind]
    assert_scores(loaded.score(as_kind), expected)


def test_a_row_alone_gets_its_score_among_others(loaded, rows):
    expected = loaded.score(rows)
    for place, row in enumerate(rows.to_dicts()):
        for alone in (row, [row], rows[place], {**row, "more": [1, 2]}):
            scores = loaded.score(alone)
            for label in LABELS:
                assert scores[label].shape == (1,)
                assert scores[label][0] == pytest.approx(expected[label][place], abs=1e-6)


def test_tokens_of_a_row_may_be_a_list(loaded, rows):
    row = rows.row(0, named=True) | {"tags": "t1^t2"}
    as_list = row | {"tags": ["t1", "t2"]}
    assert loaded.score(as_list) == loaded.score(row)
    columns = {name: [value, value] for name, value in as_list.items()}
    assert np.array_equal(loaded.score(columns)["like"], np.repeat(loaded.score(row)["like"], 2))


def test_whole_numbers_stand_among_floats_as_in_json(loaded):
    ages = [1, 2.5, None, -3]
    rows = [{**GOOD, "age": age} for age in ages]
    expected = [loaded.score(row)["like"].item() for row in rows]
    as_columns = {name: [row[name] for row in rows] for name in GOOD}
    for several in (rows, as_columns, json.loads(json.dumps(rows))):
        np.testing.assert_allclose(loaded.score(several)["like"], expected, atol=1e-6)
    with pytest.raises(DataError, match="'user' mixes kinds"):
        loaded.score([{**GOOD, "user": 7}, {**GOOD, "user": 7.5}])


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


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"user": ["u1"], "age": [1.0]}, ["'item'", "'tags'", "'author'"]),
        ({"user": "u1", "age": 1.0}, ["'item'", "'tags'", "'author'"]),
        ({}, COLUMNS),
        ([], ["There are no rows"]),
        ([{}], COLUMNS),
        ({"usr": "u1", "age": 1.0}, ["'user'. Did you mean 'usr'?", "'author'"]),
        ([{"usr": "u1"}] * 2, ["'user'. Did you mean 'usr'?", "'author'"]),
        (pl.DataFrame({"usr": ["u1"]}), ["'user'. Did you mean 'usr'?", "'author'"]),
        ([{"user": "u1"}, 7], ["row 2 must be a dict, found 7"]),
        ("run.parquet", ["found 'str'"]),
        (None, ["found 'NoneType'"]),
        (7, ["found 'int'"]),
    ],
)
def test_rows_that_lack_something(loaded, rows, said):
    with pytest.raises(DataError) as caught:
        loaded.score(rows)
    for words in said:
        assert words in str(caught.value)


GOOD = {"user": "u1", "item": "i1", "age": 1.0, "tags": "t1", "author": "a1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": "old"}, ["'age'", "row 1", "'old'"]),
        ({"age": float("inf")}, ["'age'", "row 1", "inf"]),
        ({"age": "old", "user": {"a": 1}}, ["'user'", "Struct"]),
        ({"user": [["u1"]]}, ["'user'", "lists are for sequences"]),
        ({"user": b"u1"}, ["'user'", "Binary"]),
        ({"user": object()}, ["'user'", "Object"]),
    ],
)
def test_a_bad_value_is_named_alike_in_a_row_and_in_a_frame(loaded, change, said):
    row = GOOD | change
    texts = set()
    for rows in ([row], {name: [value] for name, value in row.items()}):
        with pytest.raises(DataError) as caught:
            loaded.score(rows)
        texts.add(str(caught.value))
    (text,) = texts
    for words in said:
        assert words in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([GOOD, GOOD | {"age": "old"}, GOOD | {"age": "x"}], ["'age'", "mixes kinds of values"]),
        ([GOOD, {k: v for k, v in GOOD.items() if k != "item"}], ["row 2 lacks 'item'"]),
        ({**{k: [v] for k, v in GOOD.items()}, "item": ["i1", "i2"]}, ["'user' 1", "'item' 2"]),
        ({**{k: [v] for k, v in GOOD.items()}, "item": "i1"}, ["column 'item' must be a list"]),
        ({k: [] for k in GOOD}, ["There are no rows"]),
        (pl.DataFrame([GOOD]).clear(), ["There are no rows"]),
        (pl.DataFrame([GOOD]).to_pandas().iloc[:0], ["There are no rows"]),
        (
            {**{k: [v] * 3 for k, v in GOOD.items()}, "age": ["1", "old", "2"]},
            ["'age'", "row 2", "'old'"],
        ),
    ],
)
def test_columns_that_do_not_fit_together(loaded, rows, said):
    with pytest.raises(DataError) as caught:
        loaded.score(rows)
    for words in said:
        assert words in str(caught.value)


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

"""The benchmarks: the script at sizes that say nothing about speed, and what its figures rest on."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perf import cli, preparing, profiling, scaling, scorer, scoring, training
from perf.common import BenchmarkError, Side, ratio
from perf.data import batches, draw, label_names, vocabulary_sizes, write_csv
from perf.records import Record
from perf.sides import Products, Training
from perf.sizes import NETWORK, Setting, Sizes
from perf.training import MemoryOfTraining
from tests.support.processes import CONTEXT

pytestmark = pytest.mark.slow

SMALL = {
    **NETWORK,
    "num_shared_experts": 3,
    "expert_hidden_units": [12, 10, 8],
    "gate_hidden_units": [9, 7],
    "tower_hidden_units": [6],
    "embedding_dim": 4,
}
SETTING = Setting(3_000, batch_size=64, network=SMALL)
TINY = Sizes(
    table_rows=(2_000,), batch_size=32, network=SMALL, repetitions=1, large_group_rows=(5_000, 300)
)


@pytest.fixture(autouse=True)
def _sides_begin_with_what_has_been_imported(monkeypatch):
    monkeypatch.setattr("perf.common.multiprocessing.get_context", lambda _: CONTEXT)


def test_the_script_writes_json_and_markdown(tmp_path, capsys):
    out = tmp_path / "found" / "tiny.json"
    arguments = ["--quick", "--out", str(out), "--only", "gauc-large", "gpu"]
    assert cli.main(arguments, TINY) == 0
    found = json.loads(out.read_text())
    assert [set(record) - {"reason"} for record in found] == [
        {"what", "value", "unit", "target", "met"}
    ] * len(found)
    assert found[0]["target"] == "<= 10"
    assert 0 < found[0]["value"] < 10
    assert found[0]["met"] is True
    by_device = [record for record in found if "one GPU" in record["what"]]
    assert len(by_device) == (7 if torch.cuda.is_available() else 3)
    if not torch.cuda.is_available():
        assert all(r["value"] is r["met"] is None and "no CUDA" in r["reason"] for r in by_device)
    printed, written = capsys.readouterr().out, out.with_suffix(".md").read_text()
    for text in ("not for the record", "torch", "gAUC, 5,000 rows in 300 users"):
        assert text in printed
        assert text in written


def test_a_topic_that_fails_says_why_and_the_rest_goes_on(tmp_path, monkeypatch):
    def fails(work):
        yield Record("before", 1.0, "s")
        raise BenchmarkError("Traceback ...\nno room")

    monkeypatch.setitem(cli.TOPICS, "loader", fails)
    monkeypatch.setitem(cli.TOPICS, "cache", lambda work: iter([Record("after", 2.0, "s")]))
    out = tmp_path / "found.json"
    assert cli.main(["--out", str(out), "--only", "loader", "cache"], TINY) == 1
    found = json.loads(out.read_text())
    assert [(r["what"], r["value"]) for r in found] == [
        ("before", 1.0),
        ("loader", None),
        ("after", 2.0),
    ]
    assert "loader: no room" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("value", "target", "met"),
    [
        (1.6, ">= 1.6", True),
        (1.59, ">= 1.6", False),
        (6.0, "<= 6", True),
        (6.1, "<= 6", False),
        (1.0, None, None),
        (None, "<= 6", None),
    ],
)
def test_whether_a_target_is_met(value, target, met):
    assert Record("it", value, "s", target).met is met


def test_a_side_answers_raises_and_dies():
    with Side(list, [3, 1, 2]) as side:
        side.call("sort")
        assert side.call("pop") == 3
        with pytest.raises(BenchmarkError, match="ValueError: 9"):
            side.call("index", 9)
        assert side.call("pop") == 2
    with (
        Side(float, "no number") as side,
        pytest.raises(BenchmarkError, match="not convert string"),
    ):
        side.wait()
    with Side(importlib.import_module, "os") as side, pytest.raises(BenchmarkError, match="code 7"):
        side.call("_exit", 7)


@pytest.mark.slow
def test_runs_of_one_seed_do_not_differ_in_a_bit_and_of_two_seeds_do(monkeypatch):
    assert [record.value for record in training.repeat(TINY)] == [0, 0]
    seeds = iter([1, 2] * 2)
    monkeypatch.setattr(
        training,
        "Side",
        lambda make, setting, *more: Side(make, replace(setting, seed=next(seeds)), *more),
    )
    assert all(record.met is False for record in training.repeat(TINY))


def test_ratio_is_the_median_of_the_rounds():
    assert ratio([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == 3.0


# In a process of its own: other tests have this one keep the memory that it frees.
PEAK = """
import numpy as np
from perf.common import peak_memory, reset_peak_memory
before = reset_peak_memory()
base = peak_memory()
block = np.ones(100 * 2**20, np.uint8)
print(peak_memory() - before >= 90 * 2**20)
del block
reset_peak_memory()
print(peak_memory() < base + 50 * 2**20)
"""


def test_peak_memory_is_that_since_the_reset():
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", PEAK], cwd=root, capture_output=True, text=True)
    assert found.stdout.split() == ["True", "True"], found.stderr


def test_the_sides_train_alike_and_row_sparse_differs():
    plain, exact, sparse = (
        Training(SETTING, kind, keep_memory=False) for kind in ("plain", "exact", "row_sparse")
    )
    assert type(plain.model).__name__ == "PlainSTEM"
    _, expected = plain.steps(40)
    np.testing.assert_allclose(exact.steps(40)[1], expected, rtol=1e-4)
    assert expected[-1] < expected[0]
    assert np.abs(np.array(sparse.steps(40)[1]) / expected - 1).max() > 1e-4
    np.testing.assert_allclose(exact.auc(5), plain.auc(5), atol=1e-3)


def test_the_floor_has_the_products_of_a_step():
    """Against PyTorch's count of the plain model, whose mixing is no matrix product."""
    model = Training(SETTING, "plain", keep_memory=False).model
    (columns,) = batches(SETTING, 1, seed=0)
    with FlopCounterMode(display=False) as counter:
        model.compute_loss(model.forward(columns), model.get_labels(columns)).backward()
    width, (first, second) = 8 * SMALL["embedding_dim"], SMALL["gate_hidden_units"]
    unread_gate = 2 * SETTING.batch_size * (width * first + first * second + second * 5)
    products = Products(SETTING)
    mixing = sum(
        count
        for count, (product, *_) in zip(products.operations(), products.products, strict=True)
        if product is torch.bmm
    )
    assert mixing == 3 * 2 * SETTING.batch_size * 2 * 5 * 8
    assert sum(products.operations()) - mixing == counter.get_total_flops() - unread_gate


def test_draws_are_skewed_ids_and_labels_of_both_classes():
    sizes, labels = vocabulary_sizes(20_000, fields=10), label_names(3)
    assert abs(sum(sizes.values()) - 20_000) < 20
    columns = draw(sizes, labels, 20_000, seed=1)
    assert list(columns) == [*sizes, *labels]
    for name, size in sizes.items():
        ids = columns[name]
        assert 1 <= ids.min() <= ids.max() < size
        # Zipf's law with exponent 1: half of all rows have an id up to the root of the size.
        if size > 1000:
            assert (ids <= size**0.5).mean() == pytest.approx(0.5, abs=0.1)
    for label in labels:
        assert 0.02 < columns[label].mean() < 0.6


def test_every_id_is_in_the_csv_file(tmp_path, monkeypatch):
    monkeypatch.setattr("perf.data._BLOCK", 1000)
    write_csv(tmp_path / "rows.csv", 5_001, 2_000)
    frame = pl.read_csv(tmp_path / "rows.csv")
    assert frame.height == 5_001
    sizes = vocabulary_sizes(2_000)
    assert {name: frame[name].n_unique() for name in sizes} == sizes


def test_peak_memory_of_training_is_that_of_an_epoch(tmp_path):
    setting = replace(SETTING, batch_size=32)
    side = MemoryOfTraining(setting, True, 320, tmp_path / "run")
    before = {name: weight.clone() for name, weight in side.model.named_parameters()}
    assert 0 < side.run() < 8
    assert any(not torch.equal(w, before[name]) for name, w in side.model.named_parameters())


def test_exponents_tell_lines_from_squares_and_are_drawn(tmp_path):
    points = {axis.name: [(x, 5.0 + 2 * x) for x in axis.values] for axis in scaling.AXES}
    points[scaling.EPOCH_ROWS] = [(1_000, 3.0), (2_000, 3.0)]
    assert 0.8 < scaling.exponent(points["tasks"]) < 1
    assert scaling.exponent([(2, 4.0), (4, 16.0)]) == pytest.approx(2)
    met = {record.what: record.met for record in scaling.records(points) if record.target}
    assert [what for what, good in met.items() if not good] == [
        "exponent of cost against table rows, row-sparse, 3,000,000 to 10,000,000",
        "exponent of cost against batch size, 8,192 to 16,384",
    ]
    scaling.picture(points, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_profile_accounts_for_the_steps_products():
    sections = []
    found = {record.what: record.value for record in profiling.measure(TINY, sections)}
    assert len(found) == len(profiling.KINDS)
    assert all(0 < share < 100 for share in found.values())
    (table,) = sections
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[4:]]
    *shown, total = rows
    assert total[0] == "all"
    for column in (1, 2, 3):
        parts = sum(float(row[column]) for row in shown)
        # Rounded to .1 each.
        assert 0 < parts < float(total[column]) + 0.05 * (len(rows) + 1)


def test_a_raw_file_is_prepared_and_encoded(tmp_path):
    found = list(preparing.measure(replace(TINY, raw_rows=(3_000, 60)), tmp_path))
    assert [record.unit for record in found] == ["s", "s", "GiB"]
    assert all(record.value > 0 for record in found)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_scores_of_raw_rows_are_those_of_fuxictrs_blocks(tmp_path):
    """The topic compares the scores, and fails where they differ."""
    found = {
        r.what: r.value for r in scoring.compare(replace(TINY, scored_rows=(300, 200)), tmp_path)
    }
    assert len(found) == 7
    assert all(value > 0 for value in found.values())
    with pytest.raises(BenchmarkError, match="like_pred of the two sides differ by 0.5"):
        scoring._check({"like_pred": np.array([0.0])}, {"like_pred": np.array([0.5])})


@pytest.mark.slow
def test_an_export_is_scored_next_to_the_eager_model(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    sizes = replace(
        TINY, scorer_networks={"tiny": SMALL}, scorer_rows=(2_000, 500), scorer_tokens=1_500
    )
    found = list(scorer.compare(sizes, tmp_path))
    assert [record.unit for record in found] == [*["ms"] * 6, "x", "x"] * 3
    assert [record.target for record in found if record.target] == [">= 5", ">= 5", ">= 1", ">= 1"]
    assert all(record.value > 0 for record in found)
    assert [record.target for record in scorer.ready(sizes, tmp_path)] == ["<= 1", "<= 5"]
    assert not list(tmp_path.iterdir())

"""Several processes measured and on paper: what is counted is what is sent, and what is estimated."""

import mmap
import time
from dataclasses import replace

import pytest

from fuxictr_stem.runtime.group import Member
from perf import on_paper, processes
from perf.on_paper import Machines, Work, estimate
from perf.process_sides import SAMPLE_SECONDS, PeakMemory, Rank
from perf.sizes import NETWORK, Setting, Sizes
from tests.support.processes import CONTEXT
from tests.support.ranks import on_ranks

SMALL = {
    **NETWORK,
    "num_shared_experts": 1,
    "expert_hidden_units": [6],
    "gate_hidden_units": [5],
    "tower_hidden_units": [4],
    "embedding_dim": 4,
}
SETTING = Setting(3_000, batch_size=256, network=SMALL)
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
WIDTH = 3 * 4  # a table per task and the shared one
MACHINES = Machines(
    per_host=2,
    within=100.0,
    between=10.0,
    memory=1000.0,
    products=50.0,
    links_reached=0.5,
    memory_reached=0.5,
    products_reached=0.2,
    messages=3,
    message_seconds=0.25,
    fixed_seconds=2.0,
    fixed_bytes=7.0,
    activation_bytes=11.0,
)


def test_an_estimate_by_hand():
    # Four ranks of two hosts: three of four rows are elsewhere, one of them on the same host.
    work = Work(
        table_bytes=1600.0,
        row_numbers=5,
        unique_rows=10.0,
        batch_rows=6,
        dense_numbers=20,
        flop=30.0,
        row_sparse=False,
        bytes_sent=2,
    )
    found = estimate(work, 4, MACHINES)
    assert found.sent == {"ids": 30, "rows": 75, "gradients": 75, "dense gradients": 120}
    assert found.seconds == pytest.approx(
        {
            "products": 6 * 30 / 10,
            "tables": 10 * 400 / 500,
            "exchange": (10 + 25 + 25) / 50 + (20 + 50 + 50) / 5,
            "dense gradients": 120 / 5,
            "messages": 0.75,
            "fixed": 2,
        }
    )
    assert found.memory == {
        "tables": 400,
        "Adam's state": 800,
        "gradients of tables": 400,
        "dense part": 320,
        "rows of a batch": 6 * 4 * 50,
        "activations": 66,
        "fixed": 7,
    }
    sparse = estimate(replace(work, row_sparse=True), 4, MACHINES)
    assert sparse.seconds["tables"] == 10 * 4 * 50 / 500
    assert sparse.memory["gradients of tables"] == 0
    # On one host all that is sent goes over its own links.
    near = estimate(work, 2, MACHINES)
    assert near.seconds["exchange"] == (20 + 50 + 50) / 50
    assert near.seconds["dense gradients"] == 80 / 50
    assert sum(estimate(work, 1, MACHINES).sent.values()) == 0


def counted(ranks):
    """What a rank sends, and what it has: dense numbers with a gradient, tables."""
    rank = Rank(SETTING, True, Member(ranks.number, ranks.count), threads=1)
    found = [rank.messages(SETTING.batch_size, precision) for precision in ("fp32", "bf16", "fp16")]
    model = rank._model
    tables = {id(tables.table.weight) for tables in model.embedding_layer.field_tables()}
    dense = sum(p.numel() for p in model.parameters() if id(p) not in tables and p.grad is not None)
    return found, dense, len(tables)


@pytest.mark.slow
def test_what_is_counted_is_what_the_estimate_says():
    by_rank = on_ranks(2, counted)
    _, dense, tables = by_rank[0]
    whole, bf16, fp16 = zip(*(found for found, *_ in by_rank), strict=True)
    # After a step the loop asks whether to stop.
    assert [of_rank.number + 1 for of_rank in whole] == [Machines().messages] * 2
    # Rows and their gradients go as many times as their numbers, four bytes each.
    counts_bytes = 8 * tables
    rows_asked = sum(of_rank.ids - counts_bytes for of_rank in whole) / 4
    assert sum(of_rank.rows for of_rank in whole) == 2 * 4 * WIDTH * rows_asked
    for halved in (bf16, fp16):
        assert [2 * of_rank.rows for of_rank in halved] == [of_rank.rows for of_rank in whole]
        assert [of_rank.ids for of_rank in halved] == [of_rank.ids for of_rank in whole]
    # Two tasks: their samples and the rows; the loss, the tasks' and two numbers per table.
    small = 8 * (2 + 1) + 8 * (1 + 2 + 2 * tables)
    assert {of_rank.summed for of_rank in whole} == {4 * dense + small}

    part = SETTING.batch_size // 2
    unique = on_paper.unique_rows(SETTING.table_rows, SETTING.fields, part, SETTING.seed)
    work = Work(0.0, WIDTH, unique, part, dense, 0.0, True, 4)
    sent = estimate(work, 2).sent
    asked = [of_rank.ids - counts_bytes for of_rank in whole]
    assert sent["ids"] == pytest.approx(sum(asked) / 2, rel=0.1)
    of_rows = sum(of_rank.rows for of_rank in whole) / 2
    assert sent["rows"] + sent["gradients"] == pytest.approx(of_rows, rel=0.1)


def test_the_table_on_paper_says_what_it_rests_on():
    sections = []
    sizes = Sizes(table_rows=(2_000,), network=SMALL)
    found = {record.what: record.value for record in on_paper.table(sizes, sections)}
    assert len(found) == 3 * 2 * 4
    tables = on_paper._TABLE_BYTES / 1e9
    for ranks in (8, 64):
        memory = [found[f"on paper: memory of a rank, {ranks} GPUs, {mode}, rows in fp32"]
                  for mode in ("exact", "row-sparse")]  # fmt: skip
        assert memory[0] - memory[1] == pytest.approx(tables / ranks)
        sent = [found[f"on paper: a rank sends per step, {ranks} GPUs, exact, rows in {kind}"]
                for kind in ("fp32", "bf16")]  # fmt: skip
        assert 1.5 < sent[0] / sent[1] < 2
    (text,) = sections
    for words in ("450 GB/s", "InfiniBand", "different rows", "60% of that is reached"):
        assert words in text


def test_a_short_peak_is_seen():
    # Pages of its own: this process may keep what other tests have freed.
    with PeakMemory() as memory, mmap.mmap(-1, 240 * 2**20, flags=PRIVATE) as pages:
        pages.write(b"1" * len(pages))
        time.sleep(3 * SAMPLE_SECONDS)
    assert memory.peak - memory.before > 200 * 2**20


@pytest.mark.slow
def test_the_topic_with_one_process_and_two(tmp_path, monkeypatch):
    # Sides that begin with what has been imported.
    monkeypatch.setattr("perf.common.multiprocessing.get_context", lambda _: CONTEXT)
    sizes = Sizes(
        batch_size=64,
        steps=2,
        repetitions=1,
        network=SMALL,
        process_rows=2_000,
        process_counts=(1, 2),
        process_batches=(32,),
    )
    found = {record.what: record for record in processes.measure(sizes, tmp_path)}
    assert [record.target for record in found.values() if record.target] == ["<= 0.55"]
    assert all(record.value > 0 for record in found.values())
    what = "messages of a step, to which the loop adds one, 2 processes, batch 32"
    assert found[what].value + 1 == Machines().messages
    assert len(found) == 5 + 6 + 2 * 3
    assert not list(tmp_path.glob("memory*"))

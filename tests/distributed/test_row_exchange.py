"""Rows and gradients that travel in two bytes: what arrives, what it saves, and what cannot be sent."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import distributed
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fuxictr_stem.distributed.row_exchange import RowExchange
from fuxictr_stem.distributed.split_model import build_split, split_tables
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.layers import FieldTables
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.models import base
from fuxictr_stem.training.nan_guard import finite_losses
from fuxictr_stem.training.precision import EXCHANGE_PRECISIONS
from fuxictr_stem.training.ranks import Ranks
from tests.support.ranks import (
    columns_of,
    first_model,
    uneven_batch,
    write_vectors,
)
from tests.support.small_models import batch, feature_map, numeric

ROW_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class MessageBytes(TorchDispatchMode):
    """Takes note of the bytes of each all-to-all message."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.c10d.alltoall_base_.default:
            self.sizes.append(args[1].nbytes)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """A rank that is alone: its rows travel from itself to itself, as those of others would."""
    store = tmp_path_factory.mktemp("store") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield Ranks()
    distributed.destroy_process_group()


def some_tables():
    """Two tables with weights near and far from zero."""
    sizes = [30, 5], [True, False], 3, 2
    with rows_split(0, 1):
        return [
            FieldTables(*sizes, partial(torch.nn.init.normal_, std=std)) for std in (1e-4, 50.0)
        ]


@pytest.mark.parametrize("precision", EXCHANGE_PRECISIONS)
def test_what_arrives(one_rank, precision):
    torch.manual_seed(1)
    tables, row_type = some_tables(), ROW_TYPES[precision]
    exchange = RowExchange(tables, precision)
    rows = [torch.tensor([0, 3, 3, 9, 33]), torch.tensor([1, 2])]
    whole = []
    for table in tables:
        kept, slots = table.shard.kept(torch.arange(table.num_rows))
        whole.append(torch.zeros(table.num_rows, 6))
        whole[-1][kept] = table.table.weight.detach()[slots]
    exchange.fetch(rows)
    gradients = []
    for table, wanted, weight in zip(tables, rows, whole, strict=True):
        slots = table.fetched.slots(wanted)
        arrived = table.fetched.weight_UW.detach()[slots]
        assert arrived.dtype == torch.float32
        assert torch.equal(arrived, weight[wanted].to(row_type).float())
        # From beyond fp16 to beyond its least number, and what is exactly zero.
        gradient = torch.randn(len(wanted), 6) * torch.logspace(-30, 30, 6)
        gradient[:, 2] = 0
        gradients.append(gradient)
    # Of rows that are there, by their places among what was fetched; one of them twice over.
    touched = [
        (tables[0].fetched.slots(rows[0][2:]), gradients[0][2:]),
        (tables[1].fetched.slots(rows[1]), gradients[1]),
    ]
    sums = exchange.bring_back(touched)
    expected_rows = [rows[0][2:], rows[1]]
    for table, (slots, values), wanted, (_, gradient) in zip(
        tables, sums, expected_rows, touched, strict=True
    ):
        order = torch.argsort(table.shard.slots(wanted))
        assert slots.tolist() == table.shard.slots(wanted)[order].tolist()
        travelled = gradient if precision == "fp32" else gradient.bfloat16().float()
        assert torch.equal(values, travelled[order])
        assert (values[:, 2] == 0).all()
        assert torch.isfinite(values).all()
        assert (values[:, [0, 1, 3, 4, 5]] != 0).all()

    # An evaluation gets what is saved.
    for table in tables:
        table.eval()
    exchange.fetch(rows)
    for table, wanted, weight in zip(tables, rows, whole, strict=True):
        assert torch.equal(table.fetched.weight_UW[table.fetched.slots(wanted)], weight[wanted])


def test_the_large_messages_take_half_the_bytes(one_rank, tmp_path):
    write_vectors(tmp_path)
    fmap = columns_of("STEMNet", tmp_path)
    sizes = {}
    for precision in EXCHANGE_PRECISIONS:
        model = first_model("STEMNet", fmap, one_rank, precision)
        model.train()
        with MessageBytes() as messages:
            model.train_step(uneven_batch(fmap, 0))
        sizes[precision] = messages.sizes
    counts, ids, rows, gradients = sizes["fp32"]
    assert rows == gradients > ids > counts > 0
    assert sizes["bf16"] == sizes["fp16"] == [counts, ids, rows // 2, gradients // 2]


@pytest.mark.parametrize("row_sparse", [False, True])
def test_all_of_a_step_is_where_the_model_is(one_rank, tmp_path, monkeypatch, row_sparse):
    """On a device that is not the host: fake tensors have no numbers, but a device, and two do not mix."""
    write_vectors(tmp_path)
    fmap = columns_of("STEMNet", tmp_path)
    sent = []
    monkeypatch.setattr(base, "autocast", lambda *_: nullcontext())

    def note(tensor, *_):
        sent.append(tensor.device.type)

    monkeypatch.setattr(distributed, "all_reduce", note)
    monkeypatch.setattr(distributed, "all_to_all_single", note)
    # What depends on numbers: five rows, the padding among them, of each table, from the only rank.
    monkeypatch.setattr(torch, "unique", lambda rows: rows[:5].clone())
    monkeypatch.setattr(torch, "bincount", lambda x, minlength: x.new_zeros(minlength))
    monkeypatch.setattr(
        FakeTensor, "tolist", lambda counts: [[[4] * counts.shape[2]] * counts.shape[1]] * 2
    )
    model = first_model("STEMNet", fmap, one_rank, row_sparse=row_sparse)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.device = torch.device("meta")
        model.to(model.device)
        # The step of what lies there now.
        split_tables(model, one_rank, "fp32")
        # PyTorch's own step, which takes each parameter by itself.
        monkeypatch.setattr(model.optimizer, "step", lambda: None)
        for number in range(2):
            loss = model.train_step(uneven_batch(fmap, number))
    assert loss.device.type == "meta"
    assert len(sent) == 2 * 7
    assert set(sent) == {"meta"}


def test_a_weight_beyond_fp16_stops_the_training_before_the_step(one_rank):
    fmap = feature_map()
    model = first_model("SharedBottom", fmap, one_rank, "fp16")
    columns = batch(fmap)
    row = model.embedding_layer.tables[0].table_rows(columns["a"][:1], torch.tensor(0))
    table = model.embedding_layer.tables[0]
    with torch.no_grad():
        table.table.weight[table.shard.slots(row), 0] = -7e4
    model.train()
    model._total_steps, model._epoch_index, model._batch_index = 1, 0, 0
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with (
        finite_losses(model),
        pytest.raises(TrainingError, match=r"fp16 holds numbers up to 65,504.*weight of -70,000\."),
    ):
        model.train_step(columns)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    with torch.no_grad():
        table.table.weight[table.shard.slots(row), 0] = -6.5e4
    with finite_losses(model):
        model.train_step(columns)


def test_a_model_without_a_table_takes_its_steps(one_rank):
    fmap = feature_map({"n": numeric()})
    columns = batch(fmap)
    losses = []
    for ranks in (None, one_rank):
        model = first_model("SharedBottom", fmap, ranks)
        losses.append([model.train_step(columns).item() for _ in range(3)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_one_process_says_that_it_sends_nothing(caplog):
    fmap = feature_map()
    params = {"model": "SharedBottom", "exchange_precision": "bf16", "task_labels": fmap.labels}
    build_split({**params, "task": ["binary_classification"] * 2}, fmap, Ranks())
    assert "exchange_precision: bf16 has no effect" in caplog.text

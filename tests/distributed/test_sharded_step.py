"""Steps of several ranks are those of one process, to rounding in float64."""

import hashlib
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from fuxictr_stem.distributed.session import _backend
from fuxictr_stem.layers import device
from fuxictr_stem.registry import list_models
from fuxictr_stem.training.precision import EXCHANGE_PRECISIONS
from tests.support.processes import alone
from tests.support.ranks import (
    LONG,
    columns_of,
    first_model,
    in_double,
    on_ranks,
    share,
    uneven_batch,
    write_vectors,
)

CLIPPED, FREE = 0.05, 1e9
MODELS = sorted(list_models())
# An epoch has few batches here, so that weights by epoch change soon.
EPOCH = 5

# A model, its largest gradient norm, its parameters, and the numbers of its batches.
Case = tuple[str, float, dict, range]

LONG_RUNS: list[Case] = [
    ("STEMNet", CLIPPED, {}, range(100)),
    ("MMoE", FREE, {"row_sparse": True}, range(100)),
]
# Of each batch that is special one is among them: without labels of a task, and of one row.
EVERY_MODE: list[Case] = [
    (name, max_norm, {"row_sparse": row_sparse}, range(4, 10))
    for name in MODELS
    for row_sparse in (False, True)
    for max_norm in (CLIPPED, FREE)
]
# One mode per model; over the models all four are met.
SOME_MODES = [case for i, case in enumerate(EVERY_MODE) if (i + i // 4) % 4 == 0]
SPECIAL: list[Case] = [
    (name, CLIPPED, params, range(3 * EPOCH))
    for name, params in [
        ("STEMNet", {"sample_spaces": {"y1": "y0"}}),
        ("PLE", {"sample_weight": "w"}),
        ("STEMAL", {"sample_weight": "w", "sample_spaces": {"y2": "y0"}}),
        ("AITM", {"sample_weight": "w", "calibrator_weight": 0.3}),
        ("AITM", {"calibrator_weight": 0.3}),
        ("STEMNet", {"loss_weight": "UW"}),
        ("MMoE", {"loss_weight": "UW", "task": "regression"}),
        ("STEMNet", {"loss_weight": "DWA"}),
        ("PLE", {"loss_weight": [1, 0.3, 2]}),
        ("STEMNet", {"embedding_regularizer": 0, "net_regularizer": 0}),
        ("PLE", {"net_regularizer": "l1(0.001)"}),
        ("STEMNet", {"gradient_balancing": "MGDA"}),
        ("PLE", {"gradient_balancing": "PCGrad"}),
        ("MMoE", {"gradient_balancing": "UPGrad", "loss_weight": "UW"}),
    ]
]
CASES = [*LONG_RUNS, *EVERY_MODE, *SPECIAL]


class Trace(NamedTuple):
    """What a training leaves on a rank."""

    losses: list[float]
    sums: list[list[float]]
    digest: str  # of its copy of what is not split


def digest_of_dense(model):
    """A digest of all that each rank has a copy of."""
    dense = [p for n, p in model.state_dict().items() if ".table." not in n]
    return hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in dense)).hexdigest()


def trace(ranks, folder, cases, place="host"):
    """Train each of some cases on the host, "as on a device", or on "cuda"; leave its weights; trace it."""
    torch.set_num_threads(1)
    in_double()
    if place == "as on a device":
        device.on_host = lambda x: False
    gpu = ranks.number if place == "cuda" else -1
    return [trace_one(ranks, folder, case, gpu) for case in cases]


def trace_one(ranks, folder, case, gpu):
    name, max_norm, params, steps = case
    fmap = columns_of(name, folder)
    model = first_model(name, fmap, ranks, gpu=gpu, **params)
    model._max_gradient_norm = max_norm
    model.train()
    losses = []
    for step in steps:
        model._epoch_index = step // EPOCH
        columns = uneven_batch(fmap, step)
        if ranks is not None:
            columns = share(columns, ranks.number, ranks.count)
        losses.append(model.train_step(columns).item())
    model.save_weights(str(weights_path(folder, ranks.count if ranks else 0, case)))
    return Trace(losses, model.loss_sums.state(), digest_of_dense(model))


def weights_path(folder, ranks, case):
    return folder / f"{ranks}-{CASES.index(case)}"


def traces_alone(folder, cases):
    """The traces of one process, which leaves its weights."""
    write_vectors(folder)
    traces = alone(trace, None, folder, cases, seconds=LONG)
    assert not isinstance(traces, str), traces
    return traces


def assert_equal(folder, traces, count, cases, place="host"):
    """Some ranks have these traces, too."""
    backend = _backend(0 if place == "cuda" else -1)
    by_rank = on_ranks(count, trace, folder, cases, place, backend=backend)
    for case, expected, *of_ranks in zip(cases, traces, *by_rank, strict=True):
        losses = expected.losses
        assert len(set(losses)) == len(losses), case
        for of_rank in of_ranks:
            # Replicas are the same to the last bit, and so is what is decided by.
            assert of_rank == of_ranks[0], case
        assert_close(of_ranks[0].losses, losses, f"{case}, losses")
        assert_close(of_ranks[0].sums, expected.sums, f"{case}, sums of losses", rtol=1e-12)
        ours, theirs = (load_file(weights_path(folder, ranks, case)) for ranks in (count, 0))
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            assert_close(ours[name], weight, f"{case}, {name}")


def assert_close(ours, theirs, what, rtol=0):
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64) for x in (ours, theirs))
    torch.testing.assert_close(
        ours, theirs, rtol=rtol, atol=1e-12, equal_nan=True, msg=lambda text: f"{what}: {text}"
    )


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory):
    """A folder with the weights of one process in all cases, and its traces."""
    folder = tmp_path_factory.mktemp("traces")
    return folder, traces_alone(folder, CASES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "cases", "place"),
    [
        (1, LONG_RUNS + SOME_MODES, "host"),
        (2, CASES, "host"),
        (3, LONG_RUNS[:1] + SOME_MODES + SPECIAL[::2], "host"),
        # What asks `layers.device.on_host` takes its other way, as it would on a CUDA device.
        (2, SOME_MODES + SPECIAL[:6], "as on a device"),
        (1, SOME_MODES + SPECIAL, "cuda"),
        (2, SOME_MODES + SPECIAL, "cuda"),
    ],
)
def test_some_ranks_take_the_steps_of_one_process(of_one_process, count, cases, place):
    if place == "cuda" and torch.cuda.device_count() < count:
        pytest.skip(f"needs {count} CUDA devices")
    folder, traces = of_one_process
    assert_equal(folder, [traces[CASES.index(case)] for case in cases], count, cases, place)


def test_two_ranks_take_a_few_steps_of_one_process(tmp_path):
    cases = [EVERY_MODE[4 * MODELS.index("STEMNet")], EVERY_MODE[4 * MODELS.index("MMoE") + 3]]
    assert_equal(tmp_path, traces_alone(tmp_path, cases), 2, cases)


def train_by_precision(ranks, folder):
    """By exchange precision: losses, the dense part, and what a step without a task's label changes."""
    fmap = columns_of("STEMNet", folder)
    results = {}
    for precision in EXCHANGE_PRECISIONS:
        model = first_model("STEMNet", fmap, ranks, precision)
        model.train()
        batches = (uneven_batch(fmap, step) for step in range(10))
        parts = (share(columns, ranks.number, ranks.count) for columns in batches)
        losses = [model.train_step(part).item() for part in parts]
        digest = digest_of_dense(model)

        model = first_model("STEMNet", fmap, ranks, precision, embedding_regularizer=0)
        model.train()
        table = model.embedding_layer.tables[0].table.weight
        before = table.detach().clone()
        for step in range(3):
            columns = uneven_batch(fmap, step)
            columns["y2"][:] = torch.nan
            model.train_step(share(columns, ranks.number, ranks.count))
        results[precision] = losses, digest, (table != before).any(dim=0).tolist()
    return results


def test_rows_in_two_bytes_lose_little_and_tasks_stay_exactly_apart(tmp_path):
    """AFTB: no task trains another's table, and no rank's message changes that."""
    write_vectors(tmp_path)
    first, second = on_ranks(2, train_by_precision, tmp_path)
    # What every rank has is the same to the last bit, in whatever rows travel.
    assert {name: result[:2] for name, result in first.items()} == {
        name: result[:2] for name, result in second.items()
    }
    exact = torch.tensor(first["fp32"][0])
    for precision in EXCHANGE_PRECISIONS:
        for results in (first, second):
            # Three tables of three columns each, and the shared one.
            assert results[precision][2] == [True] * 6 + [False] * 3 + [True] * 3
        apart = (torch.tensor(first[precision][0]) - exact).abs().max().item()
        assert apart < 0.01
        assert (apart > 0) == (precision != "fp32")

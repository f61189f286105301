"""Steps of several ranks are those of one process, to rounding in float64."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file

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


def trace(ranks, folder, cases, steps):
    """Train a model per case; leave its weights; return the losses and what this rank's copy is."""
    in_double()
    results = []
    for number, (name, max_norm, params) in enumerate(cases):
        fmap = columns_of(name, folder)
        model = first_model(name, fmap, ranks, **params)
        model._max_gradient_norm = max_norm
        model.train()
        losses = []
        for step in range(steps):
            model._epoch_index = step // 10
            columns = uneven_batch(fmap, step)
            if ranks is not None:
                columns = share(columns, ranks.number, ranks.count)
            losses.append(model.train_step(columns).item())
        model.save_weights(str(folder / f"{0 if ranks is None else ranks.count}-{number}"))
        sums = model.loss_sums.state()
        results.append((losses, sums, digest_of_dense(model)))
    return results


def digest_of_dense(model):
    """A digest of all that each rank has a copy of."""
    dense = [p for n, p in model.state_dict().items() if ".table." not in n]
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in dense)).hexdigest()


def alone_trace(folder, cases, steps):
    torch.set_num_threads(1)
    return trace(None, folder, cases, steps)


def assert_equal_to_one_process(folder, cases, counts, steps):
    write_vectors(folder)
    expected = alone(alone_trace, folder, cases, steps, seconds=LONG)
    assert not isinstance(expected, str), expected
    for count in counts:
        by_rank = on_ranks(count, trace, folder, cases, steps)
        for number, (case, (losses, sums, _)) in enumerate(zip(cases, expected, strict=True)):
            of_ranks = [results[number] for results in by_rank]
            assert len(set(losses)) == steps, case
            for result in of_ranks:
                # Replicas are the same to the last bit, and so is what is decided by.
                assert result == of_ranks[0], case
            torch.testing.assert_close(
                torch.tensor([of_ranks[0][0], losses]).diff(dim=0).abs().max(),
                torch.tensor(0.0),
                rtol=0,
                atol=1e-12,
                msg=lambda text, case=case: f"{case}: {text}",
            )
            torch.testing.assert_close(
                torch.tensor(of_ranks[0][1]), torch.tensor(sums), rtol=1e-12, atol=1e-12
            )
            ours, theirs = (load_file(folder / f"{ranks}-{number}") for ranks in (count, 0))
            assert ours.keys() == theirs.keys()
            for name, weight in theirs.items():
                torch.testing.assert_close(
                    ours[name],
                    weight,
                    rtol=0,
                    atol=1e-12,
                    equal_nan=True,
                    msg=lambda text, case=case, name=name: f"{case}, {name}: {text}",
                )


def test_a_few_models_for_thirty_steps(tmp_path):
    cases = [
        ("STEMNet", CLIPPED, {}),
        ("MMoE", FREE, {"row_sparse": True}),
        ("AITM", CLIPPED, {"sample_weight": "w", "calibrator_weight": 0.3}),
    ]
    assert_equal_to_one_process(tmp_path, cases, [2], 30)


@pytest.mark.slow
@pytest.mark.parametrize("max_norm", [CLIPPED, FREE])
@pytest.mark.parametrize("row_sparse", [False, True])
def test_every_model_for_a_hundred_steps_on_two_ranks(tmp_path, row_sparse, max_norm):
    cases = [(name, max_norm, {"row_sparse": row_sparse}) for name in MODELS]
    assert_equal_to_one_process(tmp_path, cases, [2], 100)


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_every_model_for_a_hundred_steps_on_one_and_three_ranks(tmp_path, count, half):
    cases = [
        (name, [CLIPPED, FREE][number % 2], {"row_sparse": number % 4 < 2})
        for number, name in enumerate(MODELS)
    ]
    assert_equal_to_one_process(tmp_path, cases[half::2], [count], 100)


SPECIAL = {
    "spaces": ("STEMNet", {"sample_spaces": {"y1": "y0"}}),
    "weights": ("PLE", {"sample_weight": "w"}),
    "weights and spaces": ("STEMAL", {"sample_weight": "w", "sample_spaces": {"y2": "y0"}}),
    "the calibrator without weights": ("AITM", {"calibrator_weight": 0.3}),
    "uncertainty": ("STEMNet", {"loss_weight": "UW"}),
    "uncertainty, regression": ("MMoE", {"loss_weight": "UW", "task": "regression"}),
    "dynamic average": ("STEMNet", {"loss_weight": "DWA"}),
    "fixed weights": ("PLE", {"loss_weight": [1, 0.3, 2]}),
    "no penalties": ("STEMNet", {"embedding_regularizer": 0, "net_regularizer": 0}),
    "L1 of the net": ("PLE", {"net_regularizer": "l1(0.001)"}),
    "balanced": ("STEMNet", {"gradient_balancing": "MGDA"}),
    "balanced at random": ("PLE", {"gradient_balancing": "PCGrad"}),
    "balanced and uncertain": ("MMoE", {"gradient_balancing": "UPGrad", "loss_weight": "UW"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_how_losses_are_weighted_and_gradients_balanced(tmp_path, part):
    cases = [(name, CLIPPED, params) for name, params in SPECIAL.values()]
    assert_equal_to_one_process(tmp_path, cases[part::2], [2, 3], 40)


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

"""A training that goes on from a state ends as an unbroken one, under each option that carries state.

Such as random numbers (dropout, GradDrop, PCGrad), running means (batch norm, Dice), weights of the tasks
(UW, DWA) and the optimizer's moments of rows (row_sparse).
"""

import numpy as np
import pytest
import torch

from fuxictr_stem.config.result_settings import check_settings
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.training.saving import Saving
from fuxictr_stem.training.trainer import Trainer
from tests.support.crashes import Crash
from tests.support.small_models import categorical, feature_map, numeric, small_model, spread

pytestmark = pytest.mark.slow

ROWS, BATCH = 75, 16  # five steps an epoch, the last of 11 rows
FEATURES = {"a": categorical(20), "b": categorical(6), "n": numeric()}
COLUMNS = {
    "a": (np.dtype(np.uint8), 0),
    "b": (np.dtype(np.uint8), 0),
    "n": (np.dtype(np.float32), 0),
    "y0": (np.dtype(np.float32), 0),
    "y1": (np.dtype(np.float32), 0),
    "seen": (np.dtype(np.uint8), 0),
    "w": (np.dtype(np.float32), 0),
}
ALL_AT_ONCE = {
    "gradient_balancing": "GradDrop",
    "batch_norm": True,
    "net_dropout": 0.2,
    "loss_weight": "DWA",
    "sample_weight": "w",
    "sample_spaces": {"y1": "seen"},
}
LOADERS = ("memory", "streamed")
OPTIONS = [
    {"gradient_balancing": "GradDrop"},
    {"gradient_balancing": "CAGrad"},
    {"batch_norm": True},
    {"hidden_activations": "Dice"},
    {"net_dropout": 0.3},
    {"sample_weight": "w"},
    {"sample_spaces": {"y1": "seen"}},
    {"loss_weight": "UW"},
    {"loss_weight": "DWA"},
    {"row_sparse": True, "embedding_regularizer": 1e-2},
    {"precision": "bf16"},
    {"save_best_only": False},
    {"optimizer": "Adagrad"},
]
TOGETHER = [
    ALL_AT_ONCE,
    {**ALL_AT_ONCE, "row_sparse": True, "loss_weight": "UW", "hidden_activations": "Dice"},
    {**ALL_AT_ONCE, "gradient_balancing": "PCGrad", "optimizer": "RMSprop"},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(4)
    values = {
        "a": rng.integers(1, 20, ROWS).astype(np.uint8),
        "b": rng.integers(1, 6, ROWS).astype(np.uint8),
        "n": rng.normal(size=ROWS).astype(np.float32),
        "seen": rng.integers(0, 2, ROWS).astype(np.uint8),
        "w": rng.integers(0, 3, ROWS).astype(np.float32),
    }
    for label in ("y0", "y1"):
        values[label] = ((values["a"] + values["b"] + rng.integers(0, 9, ROWS)) % 2).astype("f4")
        values[label][rng.integers(0, ROWS, 5)] = np.nan
    place = tmp_path_factory.mktemp("split") / "train.h5"
    with store.create(place, ROWS, COLUMNS) as put:
        put(0, values)
    return place


class Small(H5Loader):
    """With windows of 24 rows, so that a batch may hold rows of two."""

    chunk_rows, window_chunks = 8, 3


def run(path, folder, name, settings, loader, crash_before=None, resume=False):
    """Train two epochs; return all that is left, or crash before a step."""
    fmap = feature_map(FEATURES)
    given = {key: settings[key] for key in ("sample_spaces", "sample_weight") if key in settings}

    def rows(split):
        budget = None if loader == "memory" else 1
        return Small(fmap, path, split, BATCH, split == "train", memory_budget=budget, **given)

    model = small_model(
        name, fmap, model_root=str(folder), eval_steps=3, learning_rate=0.05, **settings
    )
    if resume:
        # Whatever is not in the state is another than it was.
        spread(model, seed=11)
        torch.manual_seed(11)
        np.random.seed(11)  # noqa: NPY002
    else:
        torch.manual_seed(5)
    model._early_stop_patience = 9
    step, taken = model.train_step, 0

    def train_step(batch):
        nonlocal taken
        taken += 1
        if taken == crash_before:
            raise Crash
        return step(batch)

    model.train_step = train_step
    train = rows("train")
    assert train.in_memory is (loader == "memory")
    saving = Saving(folder / "states", {}, check_settings, {}, steps=1, resume=resume)
    history = Trainer(model, model.tasks).fit(train, rows("valid"), 2, saving)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = model.optimizer.state_dict()["state"]
    return history.evaluations, weights, optimizer, torch.get_rng_state()


def assert_the_same(found, expected):
    if isinstance(expected, torch.Tensor):
        # DWA's means are NaN in the first epochs, which equal nothing.
        assert found.numpy().tobytes() == expected.numpy().tobytes()
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_the_same(found[key], value)
    else:
        assert found == expected


CASES = [
    *((settings, LOADERS[number % 2]) for number, settings in enumerate(OPTIONS)),
    *((settings, loader) for settings in TOGETHER for loader in LOADERS),
]


@pytest.mark.parametrize(("settings", "loader"), CASES, ids=str)
def test_every_option_goes_on_bit_for_bit(settings, loader, path, tmp_path):
    """Before the last batch of an epoch, which is short, after an evaluation within the epoch."""
    name = "SharedBottom" if "gradient_balancing" in settings else "STEMNet"
    expected = run(path, tmp_path / "unbroken", name, settings, loader)
    with pytest.raises(Crash):
        run(path, tmp_path, name, settings, loader, crash_before=5)
    found = run(path, tmp_path, name, settings, loader, resume=True)
    for part, said in zip(found, expected, strict=True):
        assert_the_same(part, said)

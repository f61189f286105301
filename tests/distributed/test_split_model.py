"""What several processes cannot train, and how large a part of an experiment is."""

import pytest

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.distributed.split_model import (
    check_same_settings,
    check_several,
    part_of,
    split_tables,
)
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.training.ranks import Ranks
from tests.support.small_models import categorical, feature_map, numeric, small_model

GOOD = {
    "model_id": "toy_test",
    "model": "STEMNet",
    "optimizer": "adam",
    "embedding_regularizer": 1e-6,
}


def test_all_problems_in_one_message():
    check_several(GOOD)
    bad = {**GOOD, "optimizer": "SGD", "embedding_regularizer": "l1(0.1)"}
    with pytest.raises(ConfigError) as caught:
        check_several(bad)
    head, *lines = str(caught.value).split("\n- ")
    assert head == "toy_test on several processes: 2 problems"
    keys = ["optimizer", "embedding_regularizer"]
    assert [line.split(":")[0] for line in lines] == keys
    assert str(caught.value).endswith(" found l1(0.1). Or train in one process, without torchrun.")


class Second(Ranks):
    """The second of two ranks; the first has other settings."""

    def __init__(self, settings):
        super().__init__(1, 2)
        self._settings = settings

    def from_first(self, work):
        return self._settings


def test_settings_of_another_host_are_rejected(project):
    project.write()
    params = load_experiment("config", "toy_test") | {"gpu": -1}
    first = []
    ranks = Ranks()
    ranks.from_first = lambda work: first.append(work()) or first[0]
    check_same_settings(params, False, ranks)
    here = {**params, "learning_rate": 0.5, "state_steps": 7}
    with pytest.raises(ConfigError) as caught:
        check_same_settings(here, True, Second(first[0]))
    head, *lines = str(caught.value).split("\n- ")
    assert head.startswith("the settings of rank 1 of 2 (counted from 0, on ")
    assert head.endswith(") are not those of rank 0: 3 problems")
    assert lines == [
        "learning_rate: 0.01 on rank 0, 0.5 here",
        "state_steps: None on rank 0, 7 here",
        "--init-from: False on rank 0, True here. Give all hosts the same configs and the same command.",
    ]


@pytest.mark.parametrize("params", [{"batch_norm": True}, {"hidden_activations": "Dice"}])
def test_a_norm_over_the_batch_is_rejected(params):
    with rows_split(0, 2):
        model = small_model("STEMNet", feature_map(), **params)
    with pytest.raises(ConfigError, match="batch_norm: batch_norm and Dice need the whole batch"):
        split_tables(model, Ranks(), "fp32")


def test_a_part_of_an_experiment_to_plan_its_memory():
    vectors = {"pretrained_emb": "vectors.npz"}
    fmap = feature_map({"a": categorical(9), "b": categorical(9, **vectors), "n": numeric()})
    ranks = Ranks()
    assert part_of({"batch_size": 9}, fmap, ranks) == ({"batch_size": 9}, fmap)
    ranks.count = 2
    params, part = part_of({"batch_size": 9}, fmap, ranks)
    assert params["batch_size"] == 5
    assert [spec.get("vocab_size") for spec in part.features.values()] == [5, 9, None]
    assert fmap.features["a"]["vocab_size"] == 9

"""What several processes cannot train, and how large a part of an experiment is."""

import pytest

from fuxictr_stem.distributed.spread import check_several, part_of, spread
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.training.ranks import Ranks
from tests.support.small_models import categorical, feature_map, numeric, small_model

GOOD = {
    "model_id": "toy_test",
    "model": "STEMNet",
    "gpu": -1,
    "optimizer": "adam",
    "embedding_regularizer": 1e-6,
}


def test_all_problems_in_one_message():
    check_several(GOOD, init_from=False)
    bad = {**GOOD, "gpu": 0, "optimizer": "SGD", "embedding_regularizer": "l1(0.1)"}
    with pytest.raises(ConfigError) as caught:
        check_several(bad, init_from=True)
    head, *lines = str(caught.value).split("\n- ")
    assert head == "toy_test on several processes: 4 problems"
    keys = ["--init-from", "--gpu", "optimizer", "embedding_regularizer"]
    assert [line.split(":")[0] for line in lines] == keys
    assert str(caught.value).endswith("Or train it in one process, without torchrun.")


@pytest.mark.parametrize("params", [{"batch_norm": True}, {"hidden_activations": "Dice"}])
def test_a_norm_over_the_batch_is_rejected(params):
    with rows_split(0, 2):
        model = small_model("STEMNet", feature_map(), **params)
    with pytest.raises(ConfigError, match="batch_norm: the model normalises by its batch"):
        spread(model, Ranks(), "fp32")


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

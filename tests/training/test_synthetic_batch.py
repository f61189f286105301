"""A batch that a seed repeats."""

import torch

from fuxictr_stem.training.synthetic_batch import synthetic_batch
from tests.support.small_models import MIXED, feature_map


def test_a_seed_repeats_a_batch_and_draws_nothing_of_the_runs_numbers():
    fmap = feature_map(MIXED)
    labels = [{"name": label} for label in fmap.labels]
    before = torch.get_rng_state()
    first, again, other = (synthetic_batch(fmap, labels, 50, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.keys() == again.keys() == {*fmap.features, *fmap.labels}
    for name, values in first.items():
        assert len(values) == 50
        assert torch.equal(values, again[name]), name
        assert not torch.equal(values, other[name]), name


def test_ids_are_any_of_a_vocabulary_but_the_padding():
    fmap = feature_map(MIXED)
    columns = synthetic_batch(fmap, [], 2000)
    for name, spec in fmap.features.items():
        if spec["type"] != "numeric":
            assert columns[name].unique().tolist() == list(range(1, spec["vocab_size"])), name

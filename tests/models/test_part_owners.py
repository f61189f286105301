"""Whose a table, gate or expert is: that task's loss trains it, and that of no other task."""

from fuxictr_stem.models.part_owners import SHARED, expert_names, stream_owners
from tests.support.small_models import feature_map, small_model

LABELS = ["like", "view", "buy"]


def test_an_expert_is_the_tasks_whose_gate_trains_it():
    fmap = feature_map()
    fmap.labels = LABELS
    model = small_model("STEMNet", fmap, num_layers=2)
    for layer in model.experts.layers:
        owners, names = expert_names(layer, LABELS)
        assert names == [f"{owner}.{number}" for owner in [*LABELS, SHARED] for number in (1, 2)]
        gates = layer.gates.train_mask[: len(LABELS)].tolist()
        for label, trains in zip(LABELS, gates, strict=True):
            assert trains == [owner in (label, SHARED) for owner in owners]


def test_tables_and_gates_are_the_tasks_then_shared_and_a_single_one_is_nobodys():
    owners = [stream_owners(LABELS, count) for count in (1, 3, 4)]
    assert owners == [[None], LABELS, [*LABELS, SHARED]]

"""A finished benchmark and a look inside its models."""

import dataclasses

import numpy as np
import pytest

from fuxictr_stem.analysis.gate_weights import gate_weights
from fuxictr_stem.analysis.gradient_flow import gradient_flow
from fuxictr_stem.analysis.slice_metrics import slice_lift, slice_metrics
from fuxictr_stem.analysis.table_similarity import compare_tables
from fuxictr_stem.benchmark.score.model_analysis import Analysis, Slices
from tests.support.finished_benchmarks import make_benchmark
from tests.support.small_models import batch, feature_map, small_model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    noises = {"SingleTask": 1.2, "MMoE": 1.3, "ESMM": 1.1, "STEMNet": 0.9}
    return make_benchmark(tmp_path_factory.mktemp("runs"), noises, lacking=[("ESMM", "like")])


@pytest.fixture(scope="module")
def analysis(finished):
    fmap = feature_map(labels=2)
    columns = [batch(fmap, size=32, seed=seed) for seed in range(2)]
    found = Analysis()
    for place, name in enumerate(("STEMNet", "MMoE", "SharedBottom")):
        found.runs[name] = (f"{name}_toy", 7 + place)
    for name in ("STEMNet", "MMoE", "SharedBottom"):
        model = small_model(name, fmap, task_labels=fmap.labels)
        if gates := gate_weights(model, columns, np.arange(64) % 3):
            found.gates[name] = gates
        found.flows[name] = gradient_flow(model, columns[0])
        found.tables[name] = compare_tables(model)
        found.findings[name] = []
    slices = Slices(["a <dominates>", "comparable", "cold"], "By user.", "SingleTask")
    for name in ("SingleTask", "MMoE", "STEMNet"):
        own = [trained.predictions("like") for trained in finished.models[name].values()]
        single = [trained.predictions("like") for trained in finished.models["SingleTask"].values()]
        # Nobody is cold.
        of_sample = own[0].group_id % 2
        args = own[0].y_true, own[0].group_id, of_sample
        slices.metrics[name] = {
            "like": [slice_metrics(args[0], p.y_pred, args[1], of_sample, 3) for p in own]
        }
        if name != "SingleTask":
            ours, theirs = [p.y_pred for p in own], [p.y_pred for p in single]
            lift = slice_lift(args[0], ours, theirs, *args[1:], resamples=20, num_slices=3)
            slices.lifts[name] = {"like": [lift]}
    return dataclasses.replace(found, slices=slices)

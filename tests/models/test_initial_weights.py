"""Weights of one model in another of its kind: by task label and token, for every model."""

from itertools import chain

import numpy as np
import pytest
import torch

from fuxictr_stem.models import initial_weights
from fuxictr_stem.models.initial_weights import (
    Rows,
    copy_parts,
    copy_rows,
    misfits,
    table_columns,
    table_rows,
)
from fuxictr_stem.models.weight_parts import streams, weight_parts
from fuxictr_stem.registry import list_models
from fuxictr_stem.training.weights import TensorFile, open_tensors
from tests.support.small_models import MIXED, batch, categorical, deep_model


def taken_over(source, target, folder, ids=None):
    """Copy a model's weights; ``ids`` are, by field, our ids and theirs. Return what starts fresh."""
    path = str(folder / "weights.safetensors")
    source.save_weights(path)
    state = target.state_dict()
    layouts = [model.embedding_layer.layout for model in (source, target)]
    tables = [streams(model.labels, model.embedding_layer.num_tables) for model in (source, target)]
    with open_tensors(path) as file:
        fresh = copy_parts(file, state, weight_parts(source), weight_parts(target))
        for field in chain(*layouts[1].tables):
            sizes = [layout.features[field]["vocab_size"] for layout in layouts]
            everything = np.arange(1, min(sizes))
            rows = Rows(*(ids or {}).get(field, (everything, everything)))
            for theirs, ours in zip(
                table_rows(layouts[0], field), table_rows(layouts[1], field), strict=True
            ):
                columns = table_columns(ours.width, *tables)
                copy_rows(file, theirs, state[ours.tensor], ours.first_id, rows, columns)
    return fresh


def scores(model, columns):
    with torch.no_grad():
        return {name: value.flatten() for name, value in model(columns).items()}


@pytest.mark.parametrize("name", list_models())
def test_every_weight_is_taken_over(name, tmp_path):
    source, target = deep_model(name, MIXED), deep_model(name, MIXED, seed=9)
    assert taken_over(source, target, tmp_path) == []
    ours, theirs = target.state_dict(), source.state_dict()
    assert list(ours) == list(theirs)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


@pytest.mark.parametrize("name", list_models())
def test_with_other_ids_the_same_rows_have_the_same_scores(name, tmp_path, monkeypatch):
    monkeypatch.setattr(initial_weights, "_BLOCK_BYTES", 256)
    more = {"a": categorical(44), "b": categorical(9, embedding_dim=2)}
    source, target = deep_model(name, MIXED), deep_model(name, {**MIXED, **more}, seed=9)
    columns = batch(source.feature_map)
    rng, moved, ids = np.random.default_rng(0), dict(columns), {}
    for field, readers in {"a": ["a", "t"], "b": ["b"], "s": ["s"]}.items():
        theirs = np.arange(1, source.feature_map.features[field]["vocab_size"])
        size = target.feature_map.features[field]["vocab_size"]
        ours = rng.permutation(np.arange(1, size))[: len(theirs)]
        ids[field] = ours, theirs
        new_id = torch.from_numpy(np.append(0, ours))
        moved |= {reader: new_id[columns[reader]] for reader in readers}
    fresh = target.embedding_layer.tables[0].table.weight.clone()
    assert taken_over(source, target, tmp_path, ids) == []
    before, after = scores(source, columns), scores(target, moved)
    for label in before:
        assert torch.equal(before[label], after[label])
    # What has no token there is as it was.
    table, first = target.embedding_layer.tables[0], 0
    new = np.setdiff1d(np.arange(1, 44), ids["a"][0])
    assert len(new) == 4
    assert torch.equal(table.table.weight[first + new], fresh[first + new])


@pytest.mark.parametrize("name", [name for name in list_models() if name not in ("ESMM", "AITM")])
def test_tasks_are_matched_by_label(name, tmp_path):
    more = {"auxiliary_labels": ["y1"]} if name == "STEMAL" else {}
    source = deep_model(name, MIXED, ["y0", "y1", "y2"], **more)
    target = deep_model(name, MIXED, ["y2", "y0", "y1"], seed=9, **more)
    assert taken_over(source, target, tmp_path) == []
    columns = batch(source.feature_map)
    before, after = scores(source, columns), scores(target, columns)
    for label in before:
        torch.testing.assert_close(before[label], after[label], rtol=1e-5, atol=1e-6)


def test_towers_of_esmm_are_matched_by_label(tmp_path):
    source = deep_model("ESMM", MIXED, ["y0", "y1"])
    target = deep_model("ESMM", MIXED, ["y1", "y0"], seed=9)
    assert taken_over(source, target, tmp_path) == []
    columns = batch(source.feature_map)
    assert set(scores(source, columns)) == {"y0_pred", "y1_pred"}
    for label, value in scores(source, columns).items():
        assert torch.equal(value, scores(target, columns)[label])


@pytest.mark.parametrize("name", [name for name in list_models() if name != "ESMM"])
@pytest.mark.parametrize("labels", [["y0", "y1", "new"], ["new", "y0", "y1"], ["y0", "new", "y1"]])
def test_a_new_task_starts_fresh(name, labels, tmp_path):
    more = {"auxiliary_labels": ["y1"]} if name == "STEMAL" else {}
    source = deep_model(name, MIXED, ["y0", "y1"], **more)
    target = deep_model(name, MIXED, labels, seed=9, **more)
    ours, theirs = weight_parts(target), weight_parts(source)
    assert list(misfits(theirs, ours, ["new"])) == []
    before = {key: value.clone() for key, value in target.state_dict().items()}
    fresh = taken_over(source, target, tmp_path)
    assert fresh
    after, given = target.state_dict(), source.state_dict()
    for part in fresh:
        assert "'new'" in part or part.startswith("transfers"), part
        tensor, place = ours[part].tensor, ours[part].place
        assert torch.equal(after[tensor][place], before[tensor][place])
    for part in ours.keys() - set(fresh):
        assert torch.equal(
            after[ours[part].tensor][ours[part].place],
            given[theirs[part].tensor][theirs[part].place],
        ), part
    # The tables of the old tasks and the shared one are theirs, that of the new one is its own.
    tables, old = target.embedding_layer.tables[0], source.embedding_layer.tables[0]
    width = tables.embedding_dim
    for number, unit in enumerate(streams(target.labels, tables.num_tables)):
        columns = slice(number * width, (number + 1) * width)
        there = streams(source.labels, old.num_tables)
        expected = before["embedding_layer.tables.0.table.weight"][:, columns]
        if unit in there:
            at = there.index(unit)
            expected = old.table.weight[:, at * width : (at + 1) * width]
        assert torch.equal(tables.table.weight[:, columns], expected)
    # The other way round, a task that is gone is left out.
    assert list(misfits(ours, theirs, ["new"])) == []


@pytest.mark.parametrize("name", list_models())
def test_layers_of_other_shapes_are_named(name, tmp_path):
    source, target = deep_model(name, MIXED), deep_model(name, MIXED, tower_hidden_units=[5])
    problems = list(misfits(weight_parts(source), weight_parts(target), []))
    tensors = {key for key in target.state_dict() if key.startswith("towers.")}
    assert {text.split(" ")[0] for text in problems} <= tensors
    assert len(problems) == len(tensors) - 1 - sum("num_batches" in t for t in tensors)
    assert any("1x4x" in text and "1x5x" in text for text in problems)


def test_learnt_weights_of_losses_are_taken_over_where_both_have_some(tmp_path):
    source = deep_model("STEMNet", MIXED, ["y0", "y1"], loss_weight="UW")
    target = deep_model("STEMNet", MIXED, ["y1", "y0"], seed=9, loss_weight="UW")
    assert taken_over(source, target, tmp_path) == []
    values = [model.task_weights.log_variances for model in (source, target)]
    assert torch.equal(values[0].flip(0), values[1])
    without = weight_parts(deep_model("STEMNet", MIXED, ["y0", "y1"]))
    assert list(misfits(without, weight_parts(source), [])) == []
    assert list(misfits(weight_parts(source), without, [])) == []


def test_the_file_is_read_some_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(initial_weights, "_BLOCK_BYTES", 200)
    source, target = deep_model("STEMNet", MIXED), deep_model("STEMNet", MIXED, seed=9)
    read = []

    original = TensorFile.read

    def noted(self, *args):
        values = original(self, *args)
        read.append(values.nbytes)
        return values

    path = str(tmp_path / "weights.safetensors")
    source.save_weights(path)
    monkeypatch.setattr(TensorFile, "read", noted)
    tensors, layout = target.state_dict(), target.embedding_layer.layout
    rows = Rows(np.arange(1, 40), np.arange(1, 40))
    (place,) = table_rows(layout, "a")
    columns = [(slice(None), slice(None))]
    with open_tensors(path) as file:
        copy_rows(file, place, tensors[place.tensor], place.first_id, rows, columns)
    assert max(read) <= 200
    assert len(read) >= 10

"""Every model as a program of `torch.export` and of ONNX: the same scores, for any number of rows."""

import numpy as np
import pytest
import torch

from fuxictr_stem import get_model
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.serving import programs
from fuxictr_stem.serving.scoring_module import ScoringModule
from fuxictr_stem.serving.stored_rows import FLOAT16, FLOAT32, INT8
from tests.support.exports import columns_of, every_type, trained
from tests.support.small_models import MIXED, SMALL, feature_map

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")

ALL = sorted(SMALL)
DEEP = ["MEPLE", "PLE", "STEMAL", "STEMNet"]
TOLERANCE = 1e-5


def scoring(name, fmap, stored_as=FLOAT32, **params):
    model = get_model(name)(fmap, **{"embedding_dim": 3, **SMALL[name], **params})
    return ScoringModule(trained(model), {}, stored_as)


def assert_program(program, module, fmap):
    with torch.no_grad():
        for rows in (1, 2, 5, 300):
            columns = columns_of(fmap, rows, seed=rows)
            scores, expected = program(columns), module(columns)
            assert list(scores) == module.outputs
            for name, score in scores.items():
                torch.testing.assert_close(score, expected[name], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def assert_onnx(path, module, fmap):
    program = programs.load_onnx(path)
    for rows in (1, 2, 5, 300):
        columns = columns_of(fmap, rows, seed=rows)
        scores, expected = program(columns), module(columns)
        assert list(scores) == module.outputs
        for name, score in scores.items():
            np.testing.assert_allclose(score, expected[name], atol=TOLERANCE, rtol=0)
            assert score.dtype == np.float32


def write_onnx(program, module, path):
    programs.save_onnx(programs.to_onnx(program, module), path)


def assert_exports(module, fmap, folder):
    program = programs.trace(module, columns_of(fmap, 10))
    programs.write_program(program, folder / "program.pt2")
    assert_program(programs.load_program(folder / "program.pt2"), module, fmap)
    write_onnx(program, module, folder / "model.onnx")
    assert_onnx(folder / "model.onnx", module, fmap)


@pytest.mark.parametrize("name", ALL)
def test_every_model_is_traced(name):
    fmap = feature_map(MIXED)
    module = scoring(name, fmap)
    assert_program(programs.trace(module, columns_of(fmap, 10)).module(), module, fmap)


def test_a_model_is_written(tmp_path):
    fmap = feature_map(MIXED)
    assert_exports(scoring("STEMNet", fmap), fmap, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch_norm"),
    [
        *((name, place % 2 == 1) for place, name in enumerate(ALL)),
        ("STEMNet", True),
    ],
)
def test_every_model_is_written(tmp_path, name, batch_norm):
    # All combinations, without writing them: test_scoring_module. Here, all types for each kind of tables.
    more = {"num_layers": 2 if batch_norm else 1} if name in DEEP else {}
    features = every_type(tmp_path) if name in ("SharedBottom", "MEMMoE", "STEMNet") else MIXED
    fmap = feature_map(features, data_dir=tmp_path)
    assert_exports(scoring(name, fmap, batch_norm=batch_norm, **more), fmap, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "activation"),
    [("STEMNet", "prelu"), ("MMoE", "dice")],
)
def test_every_kind_of_activation_is_written(tmp_path, name, activation):
    fmap = feature_map(MIXED)
    module = scoring(name, fmap, hidden_activations=activation, batch_norm=True)
    assert_exports(module, fmap, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen", "usage", "stored_as"),
    [
        (True, "sum", FLOAT16),
        (False, "init", INT8),
        (True, "concat", FLOAT32),
    ],
)
def test_every_kind_of_table_is_written(tmp_path, frozen, usage, stored_as):
    fmap = feature_map(every_type(tmp_path, frozen, usage), data_dir=tmp_path)
    assert_exports(scoring("STEMNet", fmap, stored_as), fmap, tmp_path)


@pytest.mark.slow
def test_the_file_is_described_by_the_columns_and_tasks(tmp_path):
    fmap = feature_map(MIXED)
    module = scoring("STEMNet", fmap)
    path = tmp_path / "model.onnx"
    write_onnx(programs.trace(module, columns_of(fmap, 3)), module, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", programs.OPSET)]
    described = {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }
    ids, numbers = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    assert described == {
        "a": (ids, ["rows"]),
        "b": (ids, ["rows"]),
        "n": (numbers, ["rows"]),
        "s": (ids, ["rows", 4]),
        "t": (ids, ["rows", 3]),
        "y0_pred": (numbers, ["rows"]),
        "y1_pred": (numbers, ["rows"]),
    }
    # No place of a source file, and no name of a user's folder.
    assert b".py" not in path.read_bytes()


def test_the_graph_reads_each_table_once_and_holds_each_weight_once(tmp_path):
    fmap = feature_map({**MIXED, "b": MIXED["a"]})
    module = scoring("STEMNet", fmap, batch_norm=True)
    path = tmp_path / "model.onnx"
    write_onnx(programs.trace(module, columns_of(fmap, 3)), module, path)
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Gather") == 1
    assert not {"Dropout", "BatchNormalization", "Loop", "If", "ScatterElements"} & set(kinds)
    held = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    floats = sorted(array.size for array in held if array.dtype == np.float32 and array.size > 3)
    expected = [
        tensor.numel() for tensor in module.state_dict().values() if tensor.is_floating_point()
    ]
    assert floats == sorted(size for size in expected if size > 3)
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


@pytest.mark.parametrize("stored_as", [FLOAT16, INT8])
def test_a_shrunk_table_is_never_widened_as_a_whole(tmp_path, stored_as):
    fmap = feature_map({"a": {**MIXED["a"], "vocab_size": 5000}})
    module = scoring("SharedBottom", fmap, stored_as)
    path = tmp_path / "model.onnx"
    write_onnx(programs.trace(module, columns_of(fmap, 3)), module, path)
    assert_onnx(path, module, fmap)
    graph = onnx.load(path).graph
    (table,) = [
        tensor
        for tensor in graph.initializer
        if tensor.dims and tensor.dims[0] == 5000 and tensor.dims[-1] == 3
    ]
    readers = [node.op_type for node in graph.node if table.name in node.input]
    assert readers == ["Gather"]
    assert path.stat().st_size < 5000 * 3 * 4


def test_large_weights_lie_in_a_file_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_LARGE_BYTES", 1 << 16)
    fmap = feature_map({"a": {**MIXED["a"], "vocab_size": 50_000}})
    module = scoring("SharedBottom", fmap)
    path = tmp_path / "model.onnx"
    write_onnx(programs.trace(module, columns_of(fmap, 3)), module, path)
    assert path.stat().st_size < 1 << 16 < (tmp_path / "model.onnx.data").stat().st_size
    assert_onnx(path, module, fmap)


def test_packages_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(programs, "find_spec", lambda name: None if name == "onnxruntime" else 1)
    with pytest.raises(
        ConfigError, match="needs onnxruntime: pip install 'fuxictr_stem\\[export\\]'"
    ):
        programs.check_onnx()

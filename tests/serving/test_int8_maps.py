"""Maps in 8 bits: what onnxruntime computes with them, and the export that has them."""

import numpy as np
import pytest
from safetensors.torch import load_file

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.errors import ConfigError, OutputError
from fuxictr_stem.serving import Scorer, int8_maps
from fuxictr_stem.serving.export import export

ir = pytest.importorskip("onnx_ir", reason="the extra `export` is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


def one_map(weight_OI, bias_O, attributes=None):
    """Return a model with the map x -> x W' + b."""
    x = ir.val("x", ir.DataType.FLOAT, ["rows", weight_OI.shape[1]])
    constants = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for name, array in (("w", weight_OI), ("b", bias_O))
    ]
    node = ir.node("Gemm", [x, *constants], {"transB": 1} if attributes is None else attributes)
    y = node.outputs[0]
    y.name, y.type = "y", ir.TensorType(ir.DataType.FLOAT)
    opsets = {"": 18}
    graph = ir.Graph([x], [y], nodes=[node], initializers=constants, opset_imports=opsets)
    return ir.Model(graph, ir_version=10)


def outputs_of(model, x):
    session = runtime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def rounded(values, block=32):
    """Round the last axis to 8 bits, a block at a time, whose largest number is 127."""
    for start in range(0, values.shape[-1], block):
        part = values[..., start : start + block]
        largest = np.abs(part).max(axis=-1, keepdims=True).astype(np.float64)
        step = np.where(largest > 0, largest, 1) / 127
        values[..., start : start + block] = np.rint(part / step) * step
    return values


@pytest.mark.parametrize("inputs", [32, 50, 256])
def test_a_map_is_its_rounded_weights_times_rounded_inputs(monkeypatch, inputs):
    monkeypatch.setattr(int8_maps, "SMALLEST_MAP", 1)
    rng = np.random.default_rng(inputs)
    weight_OI = rng.normal(size=(20, inputs)).astype(np.float32)
    weight_OI[3] = 0
    bias_O, x = rng.normal(size=20).astype(np.float32), rng.normal(size=(7, inputs))
    x = x.astype(np.float32)
    model = one_map(weight_OI, bias_O)
    before, after = int8_maps.shrink_maps(model)
    blocks = -(-inputs // 32)
    assert (before, after) == (4 * weight_OI.size, 20 * blocks * (32 + 4))
    assert list(model.graph.initializers) == ["b", "w.int8", "w.scale"]
    y = outputs_of(model, x)
    exact = x @ weight_OI.T + bias_O
    expected = rounded(x.astype(np.float64)) @ rounded(weight_OI.astype(np.float64)).T + bias_O
    # A number halfway between two may be rounded either way.
    step = np.abs(x).max() / 127 * np.abs(weight_OI).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=2 * step)
    assert np.abs(y - expected).mean() < 0.05 * np.abs(y - exact).mean()
    # A row's outputs do not depend on the rows with it.
    alone = np.concatenate([outputs_of(model, row[None]) for row in x])
    np.testing.assert_allclose(alone, y, rtol=0, atol=1e-5)


def test_small_maps_stay_as_they_are():
    model = one_map(np.ones((8, 8), np.float32), np.zeros(8, np.float32))
    assert int8_maps.shrink_maps(model) == (256, 256)
    assert [node.op_type for node in model.graph] == ["Gemm"]


@pytest.mark.parametrize("attributes", [{}, {"transB": 1, "alpha": 2.0}])
def test_other_products_stay_as_they_are(monkeypatch, attributes):
    monkeypatch.setattr(int8_maps, "SMALLEST_MAP", 1)
    model = one_map(np.ones((8, 8), np.float32), np.zeros(8, np.float32), attributes)
    assert int8_maps.shrink_maps(model) == (0, 0)
    assert [node.op_type for node in model.graph] == ["Gemm"]


def test_maps_that_share_a_weight_share_it_in_int8(monkeypatch):
    monkeypatch.setattr(int8_maps, "SMALLEST_MAP", 1)
    weight_OI = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    model = one_map(weight_OI, np.zeros(32, np.float32))
    first = model.graph[0]
    second = ir.node("Gemm", [first.outputs[0], *first.inputs[1:]], {"transB": 1})
    model.graph.append(second)
    second.outputs[0].name, second.outputs[0].type = "z", first.outputs[0].type
    model.graph.outputs[0] = second.outputs[0]
    x = np.random.default_rng(1).normal(size=(3, 32)).astype(np.float32)
    exact = x @ weight_OI.T @ weight_OI.T
    assert int8_maps.shrink_maps(model) == (4 * 32 * 32, 32 * (32 + 4))
    assert [node.op_type for node in model.graph] == ["MatMulNBits", "MatMulNBits"]
    assert 0 < np.abs(outputs_of(model, x) - exact).max() < 0.03 * np.abs(exact).max()


@pytest.mark.slow
def test_an_export_with_a_network_in_int8(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(int8_maps, "SMALLEST_MAP", 1)
    arguments = ["export", "--run", "run", "--out", "small", "--format", "onnx"]
    assert main([*arguments, "--network", "int8", "--tables", "int8"]) == 0
    printed = capsys.readouterr()
    assert "Network: " in printed.out
    # Weights are those of the run, whatever ONNX makes of them.
    weights = load_file(tmp_path / "small" / "model.safetensors")
    names = load_file(finished.folder / "model.safetensors").keys()
    assert {name.removesuffix(".scale") for name in weights} == {*names}
    assert "model.onnx gives the run's scores" in printed.err
    nodes = [node.op_type for node in ir.load(tmp_path / "small" / "model.onnx").graph]
    assert nodes.count("MatMulNBits") > 10
    assert "Gemm" not in nodes
    # The Scorer checks the manifest's rows when it opens.
    scorer, rows = Scorer("small"), finished.test.head(40)
    assert scorer.score(rows).keys() == {"like", "view"}
    alone = [scorer.score(row) for row in rows.select(scorer.columns).to_dicts()]
    run = fuxictr_stem.load(finished.folder).predict(rows)
    for label, scores in scorer.score(rows).items():
        np.testing.assert_allclose([row[label][0] for row in alone], scores, atol=1e-3)
        off = np.abs(scores - run[f"{label}_pred"].to_numpy())
        assert 1e-6 < off.max() < 0.02


@pytest.mark.slow
def test_a_network_that_int8_changes_too_much_is_not_exported(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_maps, "SMALLEST_MAP", 1)
    monkeypatch.setattr("fuxictr_stem.serving.export._INT8_CHANGE", 1e-6)
    with pytest.raises(OutputError, match=r"(?s)in int8 does not give the run's scores.*by 1e-06"):
        export(finished.folder, tmp_path / "out", ["onnx"], network="int8")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_int8_is_of_onnx_alone(finished, tmp_path):
    with pytest.raises(ConfigError, match=r"only with ONNX. Add --format onnx"):
        export(finished.folder, tmp_path / "out", network="int8")
    with pytest.raises(ConfigError, match="--network: 'int4' is none of float32, int8"):
        export(finished.folder, tmp_path / "out", ["onnx"], network="int4")

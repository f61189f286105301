"""An exported folder is whole, gives the run's scores, or is not there."""

import json
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError, OutputError
from fuxictr_stem.serving import programs
from fuxictr_stem.serving.export import export
from fuxictr_stem.serving.export_folder import check_export
from fuxictr_stem.serving.export_trial import columns_of
from fuxictr_stem.serving.stored_rows import FLOAT16, INT8
from tests.support.finished import finish
from tests.support.processes import killed_at

pytest.importorskip("onnx", reason="the extra `export` is not installed")

EVERY = {"manifest.json", "encoder", "model.safetensors", "model.onnx", "program.pt2"}


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


def scores_of(folder, rows):
    """What the exported ONNX file gives for raw rows."""
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = RowEncoder.load(folder / "encoder").encode(
        rows, [i["name"] for i in manifest["inputs"]]
    )
    columns = {
        spec["name"]: torch.from_numpy(arrays[spec["name"]].astype(spec["dtype"]))
        for spec in manifest["inputs"]
    }
    for spec in manifest["inputs"]:
        assert columns[spec["name"]].shape[1:] == ((spec["width"],) if spec["width"] else ())
    return programs.load_onnx(folder / "model.onnx")(columns)


def test_the_folder_says_what_it_holds(exported, finished):
    assert names(exported) == EVERY
    manifest = check_export(exported)
    assert set(manifest["files"]) == EVERY - {"manifest.json", "encoder"}
    assert [task["label"] for task in manifest["tasks"]] == ["like", "view"]
    assert [task["output"] for task in manifest["tasks"]] == ["like_pred", "view_pred"]
    assert manifest["opset"] == programs.OPSET
    assert {"torch", "onnx", "onnxruntime"} <= set(manifest["versions"])
    assert [spec["name"] for spec in manifest["inputs"]] == [
        "user",
        "item",
        "age",
        "tags",
        "author",
    ]
    assert manifest["inputs"][3] == {
        "name": "tags", "type": "sequence", "width": 3, "dtype": "int64", "ids": 11, "unknown": 10
    }  # fmt: skip
    assert manifest["columns"][3] == {"name": "tags", "type": "sequence", "dtype": "str"}
    assert names(exported / "encoder") == names(finished.folder / "encoder")
    weights = (exported / "model.safetensors").read_bytes()
    assert weights == (finished.folder / "model.safetensors").read_bytes()


def test_onnxruntime_gives_the_runs_scores(exported, finished):
    saved = finished.saved()
    for name, scores in scores_of(exported, finished.test).items():
        np.testing.assert_allclose(scores, saved[name], atol=1e-6, rtol=0)


def test_the_command_and_its_formats(finished, capsys):
    arguments = ["export", "--run", str(finished.folder), "--out", "there/export"]
    assert main([*arguments, "--format", "program"]) == 0
    assert names("there") == {"export"}
    assert names("there/export") == EVERY - {"model.onnx"}
    assert "opset" not in check_export(Path("there/export"))
    assert "program.pt2 gives the run's scores of 100 rows" in capsys.readouterr().err
    # A second one takes nothing's place.
    (Path("there/export") / "mine").write_text("kept")
    assert main(arguments) == 2
    assert Path("there/export/mine").read_text() == "kept"
    assert "already exists" in capsys.readouterr().err


def test_what_cannot_be_exported_is_one_message(finished, tmp_path):
    with pytest.raises(ConfigError) as caught:
        export(finished.folder, tmp_path / "out", ["onx", "program"], "int4")
    assert "2 problems" in str(caught.value)
    assert "'onx' is none of onnx, program, aot. Did you mean 'onnx'?" in str(caught.value)
    assert "'int4' is none of float32, float16, int8" in str(caught.value)
    with pytest.raises(ConfigError, match="must name at least one of onnx, program, aot"):
        export(finished.folder, tmp_path / "out", [])
    with pytest.raises(OutputError, match="already exists"):
        export(finished.folder, finished.folder / "run.json")
    (finished.folder / "sample_rows.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DataError, match=r"sample_rows.parquet cannot be read.*Train .* again"):
        export(finished.folder, tmp_path / "out")
    (finished.folder / "sample_rows.parquet").unlink()
    with pytest.raises(DataError, match="has no sample_rows.parquet.*Train the experiment again"):
        export(finished.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("program", 2e-4),
        pytest.param("program", float("nan"), marks=pytest.mark.slow),
        pytest.param("onnx", 2e-4, marks=pytest.mark.slow),
        pytest.param("onnx", float("nan"), marks=pytest.mark.slow),
    ],
)
def test_a_program_with_other_scores_is_refused(finished, tmp_path, monkeypatch, name, by):
    trace = programs.trace

    def wrong(module, columns):
        module.model.towers.layers[-1].biases[1] += by
        return trace(module, columns)

    monkeypatch.setattr(programs, "trace", wrong)
    with pytest.raises(OutputError) as caught:
        export(finished.folder, tmp_path / "out" / "export", [name])
    text = str(caught.value)
    assert "does not give the run's scores" in text
    assert "view_pred of row" in text
    assert "like_pred" not in text
    assert "Nothing was written" in text
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("stored_as", [pytest.param(FLOAT16, marks=pytest.mark.slow), INT8])
def test_shrunk_tables(finished, tmp_path, stored_as, capsys):
    manifest = export(finished.folder, tmp_path / "small", ["onnx"], stored_as)
    assert manifest["tables"] == stored_as
    assert "Tables: 2.6 KiB in float32, 1.3 KiB in" in capsys.readouterr().out
    tensors = load_file(tmp_path / "small" / "model.safetensors")
    run = fuxictr_stem.load(finished.folder)
    original = run.model.state_dict()["embedding_layer.tables.0.table.weight"]
    table = tensors["embedding_layer.tables.0.table.weight"]
    assert table.dtype == getattr(torch, stored_as)
    wide = table.float().unflatten(1, (3, -1))
    if stored_as == INT8:
        wide = wide * tensors["embedding_layer.tables.0.table.weight.scale"]
    assert 0 < (wide.flatten(1) - original).abs().max() < 0.01 * original.abs().max()
    scores = scores_of(tmp_path / "small", finished.test)
    off = max(np.abs(scores[name] - finished.saved()[name]).max() for name in scores)
    assert 1e-8 < off < 0.01
    rows = manifest["rows"]
    np.testing.assert_allclose(
        [row["scores"]["like"] for row in rows], scores["like_pred"][:10], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"isolate_shared_gate": False, "num_layers": 2},
        {"model": "MEPLE", "num_layers": 2},
    ],
    ids=str,
)
def test_other_runs(tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    finished = finish(tmp_path, **change)
    export(finished.folder, tmp_path / "export")
    assert names("export") == EVERY


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "fuxictr_stem.serving.programs:load_program",
        "fuxictr_stem.serving.export:copy_encoder",
        "fuxictr_stem.serving.export:put_in_place",
        "fuxictr_stem.runtime.whole_folder:sync",
    ],
)
def test_a_kill_leaves_no_folder(finished, tmp_path, place):
    out = tmp_path / "place" / "export"
    out.parent.mkdir()
    killed_at(place, export, finished.folder, out, ["program"])
    (left,) = out.parent.iterdir()
    assert left.name.startswith("export.tmp-")
    export(finished.folder, out, ["program"])
    assert names(out.parent) == {"export"}
    check_export(out)


def test_a_full_disk_leaves_nothing(finished, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs, "write_program", full)
    with pytest.raises(OutputError, match="No space left"):
        export(finished.folder, tmp_path / "place" / "export", ["program"])
    assert not names(tmp_path / "place")


def test_nothing_of_this_machine_is_in_the_folder(exported, finished):
    for path in exported.rglob("*"):
        if path.is_file():
            assert str(Path(__file__).parents[2]).encode() not in path.read_bytes(), path
            assert str(finished.folder).encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_a_compiled_program_gives_the_runs_scores(finished, tmp_path, capsys, monkeypatch):
    out = tmp_path / "place" / "export"
    arguments = ["export", "--run", str(finished.folder), "--out", str(out), "--format", "aot"]
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert main(arguments) == 2
        assert "--format aot needs a C++ compiler, and there is no g++" in capsys.readouterr().err
        assert not out.parent.exists()
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "system").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "system"))
    assert main([*arguments, "--tables", "int8"]) == 0
    assert "aot.pt2 gives the run's scores of 100 rows" in capsys.readouterr().err
    assert names(out) == EVERY - {"model.onnx", "program.pt2"} | {"aot.pt2"}
    assert names(out.parent) == {"export"}
    assert not names(tmp_path / "system")
    manifest = check_export(out)
    assert manifest["machine"] == platform.machine()
    program = programs.load_compiled(out / "aot.pt2", [spec["name"] for spec in manifest["inputs"]])
    run = fuxictr_stem.load(finished.folder)
    columns = columns_of(run, finished.test.to_dicts())
    for rows in (1, 2, 200):
        scores = program({name: values[:rows] for name, values in columns.items()})
        for name, values in scores.items():
            expected = finished.saved()[name][:rows]
            np.testing.assert_allclose(values, expected, atol=0.01)
            assert values.shape == (rows,)
    (out / "aot.pt2").write_bytes(b"")
    with pytest.raises(DataError, match=r"aot.pt2"):
        check_export(out)

"""The commands of the documentation, run word for word."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem import list_models, load
from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.registry import get_model
from tests.support.small_models import batch, feature_map

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run_blocks(page: str, folder: Path) -> list[str]:
    """Run the blocks of a text in a folder, each in a process of its own; return what each has printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    shells = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    printed = []
    for language, text in BLOCK.findall(page):
        command = [*shells[language], text]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    return printed


def holds(text: str, number: float) -> bool:
    """Say whether a number is in a text, to five digits."""
    numbers = map(float, re.findall(r"\d\.\d+(?:e-?\d+)?", text))
    return any(abs(other - number) < 1e-5 for other in numbers)


SHORTER = {
    "dataset_config/tiktok_sample.yaml": {
        "rows: 150000": "rows: 20000",
        "{raw: 150000, train: 121500, valid: 13500, test: 15000}": (
            "{raw: 20000, train: 16200, valid: 1800, test: 2000}"
        ),
    },
    "model_config/Base.yaml": {"batch_size: 4096": "batch_size: 1024", "epochs: 20": "epochs: 3"},
}


def copy_config(folder: Path) -> None:
    """Copy the configs, as a wheel holds them, with fewer rows of the stand-in and fewer epochs."""
    shutil.copytree(ROOT / "config", folder / "config")
    for name, changes in SHORTER.items():
        path = folder / "config" / name
        text = path.read_text(encoding="utf-8")
        for before, after in changes.items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_the_first_model(tmp_path):
    copy_config(tmp_path)
    trained, predicted, evaluated, exported, scored, fitted = run_blocks(
        (ROOT / "docs" / "first_model.md").read_text(encoding="utf-8"), tmp_path
    )
    run = tmp_path / "checkpoints" / "tiktok_sample" / "STEMNet_tiktok"
    result = json.loads((run / "result.json").read_text())
    assert result["stand_in"]
    assert result["test"]["finish_AUC"] > 0.55
    assert f"{result['test']['finish_AUC']:.6f}" in trained
    assert not predicted

    rows = pl.read_parquet(tmp_path / "data" / "tiktok_sample" / "test.parquet")
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.columns == ["uid", "item_id", "finish_pred", "like_pred"]
    assert scores.select("uid", "item_id").equals(rows.select("uid", "item_id"))

    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert str(result["test"]["finish_AUC"])[:12] in json.dumps(evaluation)
    for channel in rows["channel"].unique():
        assert re.search(rf"^ *{channel} ", evaluated, re.MULTILINE), evaluated

    assert {"manifest.json", "model.onnx"} <= {p.name for p in (tmp_path / "exported").iterdir()}
    first = scores["finish_pred"][0]
    assert holds(scored, first), scored

    again = tmp_path / "runs" / "first" / "checkpoints" / "first" / "STEMNet_first"
    result = json.loads((again / "result.json").read_text())
    assert result["valid"]["finish_AUC"] > 0.55
    assert "finish_pred" in fitted

    # README goes on with the run of its first command, which is the same.
    shutil.rmtree(tmp_path / "exported")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    use_it = readme[readme.index("## Use it") : readme.index("## Compare models")]
    commands, scored, fitted = run_blocks(use_it, tmp_path)
    row = {name: [int(value)] for name, value in re.findall(r'"(\w+)": (\d+)', use_it)}
    (expected,) = load(run).predict(pl.DataFrame(row))["finish_pred"]
    assert holds(scored, expected), scored
    assert "finish_pred" in fitted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("http") or (page.parent / link).exists(), link


def module_of(path: Path):
    """Load a file that is no module of the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "keys.md"])
def test_pages_made_from_the_code_are_current(name):
    page = module_of(ROOT / "docs" / "generate.py").PAGES[name]()
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == written, "run: python docs/generate.py"


def test_the_messages_that_are_explained_exist():
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("fuxictr_stem/**/*.py")]
    # A message may go over several string literals.
    code = re.sub(r'"\s*f?"', "", " ".join(sources))
    rows = re.findall(
        r"^\| (`.*?) \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE
    )
    texts = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(texts) > 25
    assert not [text for text in texts if text not in code]


def test_a_model_of_your_own(tmp_path):
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (tmp_path / "models.py").write_text(BLOCK.search(text).group(2), encoding="utf-8")
    features = feature_map()
    model = module_of(tmp_path / "models.py").TwoBottoms(
        features, task_labels=features.labels, gpu=-1
    )
    assert audit(model, batch(features)) == []
    losses = [model.train_step(batch(features)).item() for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    nbformat = pytest.importorskip("nbformat", reason="the extra `docs` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `docs` is not installed")
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", 4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("buy_pred" in output.get("text", "") for output in outputs)


def test_packages_name_their_modules():
    """Where a package says how its files fit together, no file is left out or has an older name."""
    models = {get_model(name).__module__.rpartition(".")[2] for name in list_models()}
    missing = {}
    for init in (ROOT / "fuxictr_stem").glob("*/**/__init__.py"):
        words = " ".join(re.findall(r"`([\w./]+)`", init.read_text(encoding="utf-8")))
        files = {path.stem for path in init.parent.glob("*.py")} - {"__init__"}
        folders = {path.parent.name for path in init.parent.glob("*/__init__.py")}
        missing[init.parent.name] = (files | folders) - set(re.split(r"[\s./]+", words)) - models
    assert {name: left for name, left in missing.items() if left} == {}

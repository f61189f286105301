"""What a run does not import: ray and scikit-learn, which take seconds, only where they are needed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SLOW = "print([m for m in ('ray', 'sklearn', 'fuxictr.preprocess') if m in sys.modules])\n"


def python(code, folder, *argv):
    """Run code in a new process and return the lines that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"import sys\n{code}", *argv]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_run_with_a_cache_imports_neither_ray_nor_scikit_learn(project):
    code = (
        "from fuxictr_stem.cli import main\nassert main(['run', '--expid', 'toy_test']) == 0\n"
        + SLOW
    )
    project.write()
    building = python(code, project.folder)[-1]
    assert "'ray'" in building
    assert "'sklearn'" in building
    assert len(list(project.folder.glob("data/toy/*/manifest.json"))) == 1
    assert python(code, project.folder)[-1] == "[]"


def test_fuxictrs_own_functions_are_called(tmp_path):
    np.savez(tmp_path / "vectors.npz", key=["a"], value=np.ones((1, 3)))
    code = (
        "import fuxictr_stem\n"
        "from fuxictr.pytorch.layers.embeddings import pretrained_embedding\n"
        "from fuxictr.pytorch.models import rank_model\n"
        + SLOW
        + "print(rank_model.evaluate_metrics([0, 1], [0.2, 0.3], ['AUC'])['AUC'])\n"
        "key, value = pretrained_embedding.load_pretrain_emb('vectors.npz')\n"
        "print(key.tolist(), value.shape)\n"
        "import fuxictr.metrics, fuxictr.preprocess.tokenizer\n"
        "print(fuxictr.metrics.__file__ is not None, fuxictr.preprocess.FeatureProcessor.__name__)\n"
        "print(fuxictr.preprocess.tokenizer.Tokenizer.__name__)\n"
    )
    assert python(code, tmp_path) == [
        "[]",
        "1.0",
        "['a'] (1, 3)",
        "True FeatureProcessor",
        "Tokenizer",
    ]


def test_what_is_imported_already_is_taken(tmp_path):
    code = (
        "from fuxictr.preprocess.tokenizer import load_pretrain_emb\n"
        "from fuxictr.metrics import evaluate_metrics\n"
        "import fuxictr_stem\n"
        "from fuxictr.pytorch.layers.embeddings import pretrained_embedding\n"
        "from fuxictr.pytorch.models import rank_model\n"
        "print(pretrained_embedding.load_pretrain_emb is load_pretrain_emb)\n"
        "print(rank_model.evaluate_metrics is evaluate_metrics)\n"
    )
    assert python(code, tmp_path) == ["True", "True"]


def test_other_names_come_from_the_real_module(tmp_path):
    """Another release of FuxiCTR may import more, or nothing, from a module that is postponed."""
    package = tmp_path / "fuxictr" / "pytorch" / "models"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (tmp_path / "fuxictr" / "metrics.py").write_text("def evaluate_metrics(): ...\nEPSILON = 3\n")
    (package / "rank_model.py").write_text("from fuxictr.metrics import EPSILON\n")
    code = (
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import fuxictr_stem\n"
        "from fuxictr.pytorch.models import rank_model\n"
        "print(rank_model.EPSILON, sys.modules['fuxictr.metrics'].EPSILON)\n"
    )
    assert python(code, tmp_path) == ["3 3"]

"""Synthetic data where the official file is absent: said, refusable, never in the place of real splits."""

from pathlib import Path

import yaml

from fuxictr_stem.cli import main
from tests.support.project import result_of

ROOT = Path(__file__).parents[3]


def _raw_like_project(project):
    """A dataset whose official file is absent, with a stand-in, as the shipped tiktok."""
    shipped = ROOT / "config" / "dataset_config"
    datasets = {}
    for path in shipped.glob("*.yaml"):
        datasets |= yaml.safe_load(path.read_text())
    datasets["tiktok"]["prepare"]["stand_in"] = "tiny_sample"
    project.model |= {"dataset_id": "tiktok"}
    project.write()
    path = project.folder / "config" / "dataset_config" / "toy.yaml"
    path.write_text(yaml.safe_dump(datasets))


def test_the_stand_in_says_so_and_keeps_its_own_id(project, capsys):
    _raw_like_project(project)
    assert main(["run", "--expid", "toy_test"]) == 0
    assert capsys.readouterr().err.count("SYNTHETIC DATA") == 2
    result = result_of(project, dataset="tiny_sample")
    assert (result["dataset_id"], result["stand_in"]) == ("tiny_sample", True)
    assert not (project.folder / "checkpoints" / "tiktok").exists()
    assert "[dataset_id] tiny_sample" in (project.folder / "config.csv").read_text()


def test_the_stand_in_never_takes_the_place_of_splits_that_were_there(project, capsys):
    """Prepared once, then the raw file gone and the options changed: an error, not made-up data."""
    _raw_like_project(project)
    path = project.folder / "config" / "dataset_config" / "toy.yaml"
    datasets = yaml.safe_load(path.read_text())
    datasets["tiktok"] = {
        **datasets["tiny_sample"],
        **{f"{s}_data": f"./data/t/{s}.parquet" for s in ("train", "valid", "test")},
        "prepare": {**datasets["tiny_sample"]["prepare"], "stand_in": "tiny_sample"},
    }
    path.write_text(yaml.safe_dump(datasets))
    assert main(["prepare", "--dataset", "tiktok"]) == 0
    datasets["tiktok"]["prepare"] = {
        "preparer": "tiktok",
        "raw_dir": "./gone/",
        "stand_in": "tiny_sample",
    }
    path.write_text(yaml.safe_dump(datasets))
    assert main(["run", "--expid", "toy_test"]) == 2
    err = capsys.readouterr().err
    assert "SYNTHETIC" not in err
    assert "prepared again" in err


def test_the_stand_in_can_be_refused(project, capsys):
    _raw_like_project(project)
    assert main(["run", "--expid", "toy_test", "--no-stand-in"]) == 2
    assert "final_track1_train" in capsys.readouterr().err
    assert not list(project.folder.rglob("result.json"))

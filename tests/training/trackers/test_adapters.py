"""What a run says of its trackers before it begins."""

import sys

from fuxictr_stem.training.trackers.adapters import TRACKERS


def test_packages_that_are_absent_are_one_message_before_the_cache(project, capfd, monkeypatch):
    for module in ("torch.utils.tensorboard", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    project.model["tracker"] = list(TRACKERS)
    assert project.run() == 2
    said = capfd.readouterr().err
    assert said.count("error: ") == 1
    for name in TRACKERS:
        assert f"{name}: it is not installed" in said
        assert f"pip install 'fuxictr_stem[{name}]'" in said
    assert not (project.folder / "data").exists()

    project.model["tracker"] = "tensorbord"
    assert project.run() == 2
    said = capfd.readouterr().err
    assert "tracker: must be one of tensorboard, mlflow, wandb" in said
    assert "Did you mean 'tensorboard'?" in said

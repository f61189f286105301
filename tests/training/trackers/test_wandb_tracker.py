"""Weights & Biases: a run without a key."""

import pytest


@pytest.mark.slow
def test_wandb_without_a_key_says_so_instead_of_asking(project, capfd, monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    project.model["tracker"] = "wandb"
    assert project.run() == 2
    assert "tracker: wandb: there is no API key. Run wandb login" in capfd.readouterr().err
    assert not (project.folder / "data").exists()

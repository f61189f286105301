"""Runs in this process that crash at a chosen step, and what they leave."""

import json

import pytest

from fuxictr_stem.models import STEMNet
from fuxictr_stem.training.state_folders import TrainingStates
from tests.support.project import Project


class Crash(Exception):
    """Ends a run at one step."""


class Toy:
    """A project whose runs are in this process and can crash at any step."""

    def __init__(self, folder, monkeypatch, **settings):
        self.folder, self.chdir = folder, monkeypatch.chdir
        folder.mkdir()
        self.project = Project(folder)
        self.project.model |= {"epochs": 2, "eval_steps": 4, "state_steps": 1, "net_dropout": 0.2}
        self.project.model |= {"early_stop_patience": 9, **settings}
        self.states = TrainingStates(folder / "checkpoints" / "toy" / "toy_test" / "states", 2)

    def run(self, *more, crash_at=None, of=STEMNet):
        """Run in the project's folder; at a step, crash before it."""
        self.chdir(self.folder)
        steps = 0
        original = of.train_step

        def train_step(model, columns):
            nonlocal steps
            steps += 1
            if steps == crash_at:
                raise Crash
            return original(model, columns)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of, "train_step", train_step)
            return self.project.run(*more)

    def figures(self):
        home = self.folder / "checkpoints" / "toy" / "toy_test"
        result = json.loads((home / "result.json").read_text())
        return {key: result[key] for key in ("valid", "test", "epochs", "evaluations")}

    def left(self):
        home = self.folder / "checkpoints" / "toy" / "toy_test"
        return self.figures(), (home / "model.safetensors").read_bytes()

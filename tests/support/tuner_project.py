"""A project with a small tuner file."""

from pathlib import Path

import yaml

from fuxictr_stem.cli import main
from tests.support.project import Project

TUNER = {
    "base_config": "./config/",
    "base_expid": "toy_test",
    "tuner_space": {"learning_rate": [0.01, 0.001], "epochs": 1},
}

RATES = [0.05, 0.01, 0.005, 0.001]


class TunerProject(Project):
    """A project whose tuner file is ``toy_tuner.yaml``; the current folder must be its own."""

    def __init__(self, folder):
        super().__init__(folder)
        # FuxiCTR's tuner wants both keys.
        self.model |= {"debug_mode": False, "monitor": "AUC"}
        self.tuner = {**TUNER, "tuner_space": dict(TUNER["tuner_space"])}

    @property
    def file(self):
        return self.folder / "toy_tuner.yaml"

    def write_configs(self):
        super().write_configs()
        self.file.write_text(yaml.safe_dump(self.tuner, sort_keys=False))

    def tune(self, *more):
        """Write everything and run the tuner."""
        self.write()
        return main(["tune", "--config", str(self.file), *more])

    def ids(self):
        """The experiment ids that the tuner has written, in order."""
        return sorted(yaml.safe_load((self.folder / "toy_tuner/model_config.yaml").read_text()))


def results():
    """When each result of the current folder's trials was written, by its file."""
    return {path: path.stat().st_mtime_ns for path in Path("checkpoints").rglob("result.json")}

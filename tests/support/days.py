"""Experiments of two days, of which the second starts from the weights of the first."""

import json
from pathlib import Path

from safetensors.torch import load_file

from fuxictr_stem.training.evaluation import evaluate_predictions, predict
from fuxictr_stem.training.trainer import Trainer
from tests.support.project import Project, result_of, toy_rows


class Days(Project):
    """A project of two days: ``day1`` and ``day2`` are experiments, on datasets of the same names."""

    def __init__(self, folder, **settings):
        super().__init__(folder)
        self.model = {k: v for k, v in {**self.model, **settings}.items() if v is not None}
        self.days = {
            "day1": {"train": toy_rows(600, 0), "valid": toy_rows(200, 1)},
            "day2": {"train": toy_rows(600, 0), "valid": toy_rows(200, 1)},
        }
        self.changes: dict[str, dict] = {"day1": {}, "day2": {}}
        self.datasets: dict[str, dict] = {"day1": {}, "day2": {}}

    def write(self) -> None:
        config = self.folder / "config"
        for part in ("model_config", "dataset_config"):
            (config / part).mkdir(parents=True, exist_ok=True)
        experiments, datasets = {"Base": {"verbose": 0}}, {}
        for day, frames in self.days.items():
            experiments[day] = {**self.model, "dataset_id": day, **self.changes[day]}
            datasets[day] = {**self.dataset, "test_data": None, **self.datasets[day]}
            for split, frame in frames.items():
                frame.write_csv(self.folder / f"{day}_{split}.csv")
                datasets[day][f"{split}_data"] = f"./{day}_{split}.csv"
        for part, content in (("model_config", experiments), ("dataset_config", datasets)):
            (config / part / "toy.yaml").write_text(json.dumps(content))

    def folder_of(self, day: str) -> Path:
        return self.folder / "checkpoints" / day / day

    def train(self, day: str, *more: str) -> int:
        return self.run(*more, expid=day)

    def result(self, day: str) -> dict:
        return result_of(self, day, day)


class FirstStep:
    """The model and the valid batches of a run, before its first step."""

    def __init__(self, monkeypatch):
        original = Trainer._run

        def look(trainer, epochs):
            model = trainer.model
            self.labels = model.labels
            self.weights = {k: v.clone() for k, v in model.state_dict().items()}
            predictions = predict(model, trainer._valid)
            self.scores = predictions.y_pred
            self.figures = evaluate_predictions(trainer.tasks, predictions, ["AUC", "logloss"])
            model.train()
            original(trainer, epochs)

        monkeypatch.setattr(Trainer, "_run", look)


def weights_of(folder):
    return load_file(str(folder / "model.safetensors"))

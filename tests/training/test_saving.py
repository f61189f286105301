"""A run that is stopped anywhere and resumed ends as an unbroken one, bit for bit."""

import shutil
import time
from pathlib import Path

import pytest
import torch
from fuxictr.pytorch.layers import FeatureEmbedding
from fuxictr.pytorch.models import MultiTaskModel
from torch import nn

from fuxictr_stem import registry
from fuxictr_stem.config.result_settings import check_settings
from fuxictr_stem.config.value_types import OPTIMIZERS
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import OutputError
from fuxictr_stem.models import STEMNet
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.training.saving import Saving
from fuxictr_stem.training.state_folders import NAME, TrainingStates, read
from fuxictr_stem.training.trainer import Trainer
from tests.support.crashes import Crash
from tests.support.kills import LOADERS, kill_again_and_again, left_by, make, settings_of, spoil
from tests.support.small_models import Batches, batch, feature_map, small_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loader", LOADERS)
def test_killed_runs_end_as_the_unbroken_one(loader, tmp_path):
    unbroken = make(tmp_path / "unbroken", **settings_of(loader))
    start = time.monotonic()
    assert unbroken.run() == 0, unbroken.output()
    longest = time.monotonic() - start
    log = (unbroken.folder / "checkpoints" / "toy" / "toy_test.log").read_text()
    assert ("streamed" in log) == (loader == "streaming")
    expected = left_by(unbroken.folder)
    assert len(expected["result"]["evaluations"]) == 4
    found = kill_again_and_again(
        lambda folder: make(folder, **settings_of(loader)), tmp_path, 5, longest, seed=7
    )
    for left in found:
        assert left == expected


@pytest.mark.parametrize("at", [1, 2, 4, 5, 10, 11, 13, 20])
@pytest.mark.parametrize("loader", LOADERS)
def test_every_step_is_one_to_go_on_from(toy, at, loader, monkeypatch):
    """Before and after evaluations and at both ends of epochs, 10 steps each."""
    monkeypatch.setattr(H5Loader, "chunk_rows", 16)
    monkeypatch.setattr(H5Loader, "window_chunks", 4)
    settings = {"memory_budget": 1} if loader == "streaming" else {}
    unbroken = toy("unbroken", **settings)
    assert unbroken.run() == 0
    broken = toy("broken", **settings)
    with pytest.raises(Crash):
        broken.run(crash_at=at)
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()
    assert not broken.states.folder.exists()


def test_going_on_leaves_nothing_beside_the_weights(toy):
    broken = toy("broken")
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    home = broken.states.folder.parent
    before = sorted(path.name for path in home.iterdir())
    # The best weights are there under both names, or under that of the state alone.
    for _ in range(2):
        with pytest.raises(Crash):
            broken.run("--resume", crash_at=1)
        assert sorted(path.name for path in home.iterdir()) == before
        (home / "model.safetensors").unlink()


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_goes_on(optimizer, toy):
    unbroken, broken = toy("unbroken", optimizer=optimizer), toy("broken", optimizer=optimizer)
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=7)
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


@pytest.mark.parametrize(
    "settings", [{"row_sparse": True}, {"loss_weight": "UW"}, {"shuffle": False}]
)
def test_other_settings_go_on(settings, toy):
    unbroken, broken = toy("unbroken", **settings), toy("broken", **settings)
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=6)
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


def test_with_all_states_damaged_or_none_it_starts_from_the_beginning(toy, capfd):
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run("--resume") == 0
    assert "no state is saved, so the run starts from the beginning" in capfd.readouterr().err
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    for folder in broken.states.folder.iterdir():
        spoil(folder / NAME, "cut")
    assert broken.run("--resume") == 0
    said = capfd.readouterr().err
    assert said.count("is damaged and skipped") == 2
    assert "no saved state is intact; the run starts from the beginning" in said
    assert broken.left() == unbroken.left()


def test_other_settings_are_told_and_refused_and_nothing_is_lost(toy, capfd):
    broken = toy()
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    newest = broken.states.newest()
    settings = dict(broken.project.model)
    broken.project.model |= {"learning_rate": 0.02, "seed": 5}
    assert broken.run("--resume") == 2
    error = capfd.readouterr().err
    assert "learning_rate: 0.01 then, 0.02 now" in error
    assert "seed: 2023 then, 5 now" in error
    assert broken.states.newest() == newest
    # Other data are other settings; what is only shown or kept elsewhere is not.
    broken.project.model = settings | {"verbose": 1, "memory_budget": 1, "states_kept": 3}
    frame = broken.project.frames["train"]
    broken.project.frames["train"] = frame[1:]
    assert broken.run("--resume") == 2
    assert "data: " in capfd.readouterr().err
    broken.project.frames["train"] = frame
    assert broken.run("--resume") == 0


def test_a_finished_run_shows_its_result(toy, capfd):
    done = toy()
    assert done.run() == 0
    lines = (done.folder / "config.csv").read_text()
    left = done.left()
    first = capfd.readouterr()
    assert done.run("--resume", crash_at=1) == 0
    said = capfd.readouterr()
    assert "this run is finished" in said.err
    assert said.out == first.out
    assert said.out.splitlines()[0].split() == ["split", "task", "logloss", "AUC", "gAUC"]
    assert (done.folder / "config.csv").read_text() == lines
    assert done.left() == left
    done.project.model["learning_rate"] = 0.5
    assert done.run("--resume") == 2
    assert "learning_rate: 0.01 then, 0.5 now" in capfd.readouterr().err
    (done.folder / "checkpoints" / "toy" / "toy_test" / "result.json").write_text("{}")
    assert done.run("--resume") == 2
    assert "is not the complete result of a run" in capfd.readouterr().err


def test_a_finished_run_without_the_predictions_that_are_wanted_now(toy, capfd):
    done = toy()
    assert done.run() == 0
    done.project.model["save_predictions"] = True
    assert done.run("--resume") == 0
    assert "save_predictions: the finished run has written none" in capfd.readouterr().err
    assert done.run() == 0
    assert done.run("--resume") == 0
    assert "has written none" not in capfd.readouterr().err


def test_damage_to_the_best_weights_is_no_damage_to_the_states(toy):
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    home = broken.folder / "checkpoints" / "toy" / "toy_test"
    # In place, as a careless hand or a disk does it, not by a new file.
    with (home / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


def test_best_weights_that_cannot_be_put_back(toy, monkeypatch, capfd):
    broken = toy()
    with pytest.raises(Crash):
        broken.run(crash_at=8)

    copy = shutil.copyfile

    def full(source, target):
        if Path(target).name == "model.safetensors":
            raise OSError(28, "No space left on device")
        return copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("fuxictr_stem.training.snapshot.shutil.copyfile", full)
        assert broken.run("--resume") == 2
    assert "model.safetensors cannot be written: [Errno 28]" in capfd.readouterr().err
    assert broken.run("--resume") == 0


def test_a_finished_run_keeps_no_states_and_tells_of_other_data(toy, monkeypatch, capfd):
    """It was killed after its result, before its states went; then its data changed."""
    ended = toy("ended")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStates, "clear", lambda states: None)
        assert ended.run() == 0
    assert ended.states
    assert ended.run("--resume") == 0
    assert not ended.states.folder.exists()
    ended.project.frames["train"] = ended.project.frames["train"].head(500)
    capfd.readouterr()
    assert ended.run("--resume") == 2
    assert "data: " in capfd.readouterr().err
    for split in ("train", "valid", "test"):
        (ended.folder / f"{split}.csv").unlink()
    ended.project.write = lambda: None
    assert ended.run("--resume") == 0


_PARTS = ("expert", "gate", "tower")


class Foreign(MultiTaskModel):
    """A model of another package: FuxiCTR's weights, one table for two columns."""

    def __init__(self, feature_map, learning_rate=1e-2, embedding_dim=4, **params):
        super().__init__(feature_map, **params)
        self.embedding = FeatureEmbedding(feature_map, embedding_dim)
        self.twin = self.embedding
        width = feature_map.sum_emb_out_dim()
        self.towers = nn.ModuleList(nn.Linear(width, 1) for _ in feature_map.labels)
        self.compile(params["optimizer"], params["loss"], learning_rate)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        x = self.embedding(self.get_inputs(inputs), flatten_emb=True)
        towers = zip(self.feature_map.labels, self.towers, strict=True)
        return {f"{label}_pred": torch.sigmoid(tower(x)) for label, tower in towers}


@pytest.mark.parametrize("at", [6, 14])
def test_a_model_of_another_package_goes_on(toy, monkeypatch, at):
    """Its saved weights share names, and FuxiCTR saves better ones into the same file."""
    monkeypatch.setitem(registry._places(), "Foreign", f"{__name__}:Foreign")

    def fresh(name):
        made = toy(name)
        for key in ("num_shared_experts", "net_dropout", *map("{}_hidden_units".format, _PARTS)):
            del made.project.model[key]
        made.project.model["model"] = "Foreign"
        return made

    unbroken, broken = fresh("unbroken"), fresh("broken")
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=at, of=Foreign)
    for folder in broken.states.folder.iterdir():
        read(folder)
    assert broken.run("--resume") == 0
    assert broken.figures() == unbroken.figures()


def test_killed_while_evaluating_it_does_not_train_again(toy, monkeypatch):
    unbroken, broken = toy("unbroken"), toy("broken", state_steps=None)
    assert unbroken.run() == 0
    original = STEMNet.get_labels

    def get_labels(model, columns):
        if not model.training and len(columns["like"]) and broken.trained:
            raise Crash
        return original(model, columns)

    broken.trained = False
    load = STEMNet.load_weights

    def load_weights(model, path):
        load(model, path)
        broken.trained = True

    with monkeypatch.context() as patch:
        patch.setattr(STEMNet, "get_labels", get_labels)
        patch.setattr(STEMNet, "load_weights", load_weights)
        with pytest.raises(Crash):
            broken.run()
    assert broken.run("--resume", crash_at=1) == 0
    assert broken.left() == unbroken.left()


def test_a_new_start_tells_of_the_state_it_replaces(toy, capfd):
    broken = toy()
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    newest, content = broken.states.newest()
    with pytest.raises(Crash):
        broken.run(crash_at=1)
    assert "To continue the old run, stop now and use --resume" in capfd.readouterr().err
    assert broken.states.newest() == (newest, content)
    with pytest.raises(Crash):
        broken.run(crash_at=3)
    _, content = broken.states.newest()
    assert content["schedule"]["_total_steps"] == 2


def test_a_state_that_cannot_be_written_is_warned_of_and_training_goes_on(toy, monkeypatch, capfd):
    unbroken, full = toy("unbroken"), toy("full")
    assert unbroken.run() == 0

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fuxictr_stem.training.saving.save_file", refuse)
        assert full.run() == 0
    assert "The state could not be saved" in capfd.readouterr().err
    assert full.left() == unbroken.left()
    assert not full.states.folder.exists()


def saving(folder, **more):
    return Saving(folder / "states", {"seed": 1}, check_settings, {}, **more)


def test_a_disk_without_room_is_refused_before_the_first_step(tmp_path, monkeypatch):
    fmap = feature_map()
    model = small_model("STEMNet", fmap, model_root=str(tmp_path))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("fuxictr_stem.runtime.outputs.shutil.disk_usage", lambda path: usage)
    columns = Batches(batch(fmap))
    with pytest.raises(OutputError, match="2 training states and a fresh one need about"):
        Trainer(model, model.tasks).fit(columns, columns, 1, saving(tmp_path))


def test_minutes_decide_too(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("fuxictr_stem.training.saving.time.monotonic", lambda: clock[0])
    sometimes = saving(tmp_path, minutes=2)
    clock[0] = 119
    assert not sometimes.due(1)
    clock[0] = 121
    assert sometimes.due(1)
    assert saving(tmp_path, steps=3).due(6)
    assert not saving(tmp_path, steps=3).due(7)


def test_other_versions_are_warned_of(toy, capfd, monkeypatch):
    broken = toy()
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    now = versions()
    monkeypatch.setattr("fuxictr_stem.experiment.versions", lambda: {**now, "torch": "9.9"})
    assert broken.run("--resume") == 0
    assert (
        f"The state was saved with torch {torch.__version__}, and this is 9.9"
        in capfd.readouterr().err
    )


def test_fuxictrs_engine_cannot_resume():
    from fuxictr_stem.fuxictr_entry import main

    assert main(None, ["--expid", "x", "--engine", "fuxictr", "--resume"]) == 2

"""Ctrl-C and SIGTERM: the state is saved, the message says how to go on, nothing is lost."""

import signal

import pytest

from fuxictr_stem.distributed import split_model
from fuxictr_stem.models import STEMNet
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.saving import Saving

pytestmark = pytest.mark.slow


@pytest.fixture
def hangup():
    """As in a terminal; tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(toy, number, monkeypatch, capfd):
    unbroken, broken = toy("unbroken"), toy("broken", state_steps=None)
    assert unbroken.run() == 0
    original = STEMNet.backward

    def backward(model, columns):
        if model._total_steps == 6:
            signal.raise_signal(number)
            if number == signal.SIGHUP:
                signal.raise_signal(number)  # the second one of a terminal that is closed
        return original(model, columns)

    with monkeypatch.context() as patch:
        patch.setattr(STEMNet, "backward", backward)
        assert broken.run() == 128 + number
    name = {signal.SIGINT: "Ctrl-C"}.get(number, number.name)
    error = capfd.readouterr().err
    assert f"Stopped by {name} after step 6, in epoch 1" in error
    assert "The state is saved: the same command with --resume continues" in error
    assert "Traceback" not in error
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


def test_a_signal_while_evaluating_does_not_wait_for_its_end(toy, monkeypatch, capfd):
    unbroken, broken = toy("unbroken"), toy("broken", state_steps=None)
    assert unbroken.run() == 0
    original = STEMNet.get_labels

    def get_labels(model, columns):
        if not model.training and model._total_steps == 8:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the evaluation went on")
        return original(model, columns)

    with monkeypatch.context() as patch:
        patch.setattr(STEMNet, "get_labels", get_labels)
        assert broken.run() == 143
    assert "after step 8" in capfd.readouterr().err
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


def test_a_second_signal_is_obeyed_at_once(toy, monkeypatch):
    broken = toy()
    before = signal.getsignal(signal.SIGTERM)

    def backward(model, columns):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the step went on")

    monkeypatch.setattr(STEMNet, "backward", backward)
    assert broken.run() == 143
    assert not broken.states
    assert signal.getsignal(signal.SIGTERM) == before


def test_nohup_is_respected(toy, hangup, monkeypatch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    original = STEMNet.backward

    def backward(model, columns):
        signal.raise_signal(signal.SIGHUP)
        return original(model, columns)

    monkeypatch.setattr(STEMNet, "backward", backward)
    assert toy().run() == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_that_python_drops_is_obeyed_later(toy, monkeypatch):
    """An exception in a callback of a weak reference goes nowhere."""
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0

    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def building(*args):
        with monkeypatch.context() as patch:
            patch.setattr("sys.unraisablehook", lambda error: None)
            Dying()
        return build_model(*args)

    with monkeypatch.context() as patch:
        patch.setattr(split_model, "build_model", building)
        assert broken.run() == 143
    assert not broken.states
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()


def test_a_signal_while_the_last_state_is_saved_stops_the_run(toy, monkeypatch):
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0
    save = Saving.save

    def late(saving, model, train, progress, finished=False):
        if finished:
            signal.raise_signal(signal.SIGTERM)
        return save(saving, model, train, progress, finished)

    with monkeypatch.context() as patch:
        patch.setattr(Saving, "save", late)
        assert broken.run() == 143
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()

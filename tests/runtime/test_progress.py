"""Progress: a bar in a terminal, plain lines elsewhere, nothing where it is switched off."""

import itertools
import logging

from fuxictr_stem.runtime import progress as progress_module
from fuxictr_stem.runtime.progress import Progress


def test_progress_in_plain_lines(caplog, monkeypatch):
    clock = itertools.count(step=1.5)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO), Progress("Epoch 1", 400) as progress:
        for _ in range(4):
            progress.update(100, loss=0.5)
    lines = [r.getMessage() for r in caplog.records]
    assert lines, "nothing was shown"
    assert "Epoch 1: 50% of 400 samples" in lines[0]
    assert "left" in lines[0]
    assert "samples/s" in lines[0]
    assert "loss 0.5000" in lines[0]


def test_tracking_hands_on_the_blocks():
    blocks = [[1, 2], [3], []]
    assert list(progress_module.track(iter(blocks), "Reading")) == blocks


def test_progress_in_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("Epoch 1", 400) as progress:
        progress.update(400, loss=0.25)
        shown = str(progress._bar)
    assert "Epoch 1: 100%" in shown
    assert "loss=0.2500" in shown


def test_no_progress_when_switched_off(caplog, capsys):
    with caplog.at_level(logging.INFO), Progress("Epoch 1", 400, enabled=False) as progress:
        progress.update(400)
    assert not caplog.records
    assert capsys.readouterr().err == ""

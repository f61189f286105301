"""Any config and any input: it runs to a whole result, or ends in one message and leaves nothing."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import strategies as st

from fuxictr_stem.errors import ConfigError, DataError
from perf.robustness import cli, damage, readings
from perf.robustness.work import Work
from tests.support.fuzz import outcome as fuzz_outcome
from tests.support.fuzz.configs import explore_configs
from tests.support.fuzz.inputs import explore_inputs
from tests.support.fuzz.outcome import Broken, explore
from tests.support.fuzz.verdict import explore_readings

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_configs():
    counts = explore_configs(80)
    assert counts.ran > 16
    assert len(counts.rejected) > 16


def test_inputs():
    counts = explore_inputs(80)
    assert counts.ran > 16
    assert counts.same > 8
    assert len(counts.rejected) > 4


def test_inputs_with_an_oracle():
    found = explore_readings(60)
    assert not found.silent, "\n".join(found.silent.values())
    assert found.kinds["right"] > 25
    assert found.kinds["rejected"] > 5


def ends(error):
    def run(config, expid, csv_path):
        raise error

    return run


def leaves(name, text="x"):
    def run(config, expid, csv_path):
        path = config.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        raise DataError("refused")

    return run


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (ends(ValueError("a defect")), "ValueError: a defect"),
        (ends(RuntimeWarning("divided by zero")), "RuntimeWarning"),
        (ends(ConfigError("")), "an empty message"),
        (ends(ConfigError("x" * 100_000)), "a message of 100000 characters"),
        (ends(ConfigError("<object object at 0x7f>")), "an address"),
        (leaves("checkpoints/result.json"), "a result of a rejected run"),
        (leaves("results.csv"), "a results line of a rejected run"),
        (leaves("elsewhere"), "written elsewhere: {'elsewhere'}"),
        (leaves("config/a.yaml"), "changed: "),
        (leaves("data/small/0123456789abcdef.tmp-1-01234567/train.h5"), "left behind"),
        (leaves("data/small/0123456789abcdef/train.h5"), "manifest.json cannot be read"),
        (lambda *_, **__: time.sleep(5), "no end after 1 s"),
    ],
)
def test_whatever_else_is_found(monkeypatch, run, told):
    monkeypatch.setattr(fuzz_outcome, "run_experiment", run)
    monkeypatch.setattr(fuzz_outcome, "_SECONDS", 1)

    def outcome(example, folder: Path) -> str:
        (folder / "config").mkdir()
        (folder / "config" / "a.yaml").write_text("a: 1")
        return fuzz_outcome.run_whole(folder)

    with pytest.raises(Broken, match=told) as caught:
        explore(st.just("the example"), outcome, 1)
    assert "the example" in str(caught.value)


def test_the_script(tmp_path, capsys):
    out = tmp_path / "robustness.json"
    assert cli.main(["--only", "configs", "--out", str(out)], examples=4) == 0
    printed, written = capsys.readouterr().out, out.with_suffix(".md").read_text()
    for text in ("configs: tried", "configs: anything else", "-m perf.robustness"):
        assert text in printed
        assert text in written
    assert out.exists()


@pytest.mark.slow
def test_the_script_kills_and_resumes(capsys):
    assert cli.main(["--only", "kills"], kills=2) == 0
    assert "runs that were lost or stuck" in capsys.readouterr().out


@pytest.mark.slow
def test_the_script_sees_what_is_not_found(monkeypatch, capsys):
    monkeypatch.setattr(damage, "DAMAGES", ["none"])
    monkeypatch.setattr(damage, "spoil", lambda path, damage: None)
    assert cli.main(["--only", "damage"]) == 1
    told = [line.split() for line in capsys.readouterr().out.splitlines() if "not found" in line]
    assert [line[-1] for line in told] == ["NO", "NO"]


@pytest.mark.parametrize("silent", [0, 1])
def test_the_script_counts_silent_faults(tmp_path, capsys, silent):
    work = Work(tmp_path, examples=3)
    faults = {"quotes: rows": "seed 7"} if silent else {}
    kinds = Counter({"right": 3 - silent, "silent": silent})
    verdicts = readings.Verdicts(
        kinds, {"quotes": kinds}, Counter({"train.csv has a fault": 1}), faults
    )
    records = {record.what: record for record in readings.account([verdicts], work)}
    assert records["inputs with an oracle: every row, label and id right"].value == 3 - silent
    assert records["inputs with an oracle: silently wrong"].met is (silent == 0)
    assert ("seed 7" in capsys.readouterr().err) == (silent > 0)
    assert f"| quotes | {3 - silent} | 0 | 0 | {silent} |" in work.sections[0]
    assert "train.csv has a fault" in work.sections[1]


def test_the_script_prints_what_broke(monkeypatch, capsys):
    def breaks(work):
        raise cli.Broken("ValueError: a defect\nthe whole example")

    monkeypatch.setitem(cli.TOPICS, "configs", breaks)
    assert cli.main(["--only", "configs"]) == 1
    assert "the whole example" in capsys.readouterr().err

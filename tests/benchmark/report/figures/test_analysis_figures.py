"""Pictures of the models' insides show their numbers, and say of which run they are."""

import numpy as np

from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard


def inside(finished, analysis):
    """The pictures of the models' insides, without those of slices."""
    leaderboard = build_leaderboard(finished, resamples=5)
    pictures = analysis_pictures(analysis, leaderboard)
    return [picture for picture in pictures if not picture.name.startswith("slices-")]


def test_every_exact_zero_of_the_gradient_flow_is_drawn_as_0_on_white(finished, analysis):
    flow = analysis.flows["STEMNet"]
    picture = next(p for p in inside(finished, analysis) if p.name == "gradient-flow-stemnet")
    axes = picture.figure.axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(written) == flow.norms.size
    assert (flow.norms == 0).any()
    for (task, part), norm in np.ndenumerate(flow.norms):
        assert (written[task, part] == "0") == (norm == 0)
    white = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(white) == np.count_nonzero(flow.norms == 0)
    assert [label.get_text() for label in axes.get_xticklabels()] == flow.labels
    assert len(axes.get_yticklabels()) == len(flow.parts)


def test_pictures_name_the_run_and_the_seed_that_they_show(finished, analysis):
    for picture in inside(finished, analysis):
        if picture.name == "tables-spectra":
            titles = " ".join(axes.get_title(loc="left") for axes in picture.figure.axes)
            for name, (expid, seed) in analysis.runs.items():
                assert name in titles
                assert f"run {expid}, seed {seed}" in " ".join(titles.split())
            continue
        (name,) = (model for model in analysis.runs if f"-{model.lower()}" in picture.name)
        expid, seed = analysis.runs[name]
        assert picture.caption.startswith(f"run {expid}, seed {seed}.")
        assert picture.figure.get_suptitle() == f"{name}: run {expid}, seed {seed}"
    for picture in leaderboard_pictures(build_leaderboard(finished, resamples=5)):
        assert "seeds 1, 2, 3" in picture.caption


def test_gates_of_all_models_have_one_scale(finished, analysis):
    gates = [p for p in inside(finished, analysis) if p.name.startswith("gates-")]
    assert len(gates) == 4
    for picture in gates:
        bar = picture.figure.axes[-1]
        assert bar.get_xlim() == (0, 1)

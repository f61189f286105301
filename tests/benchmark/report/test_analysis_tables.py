"""Tables of what is inside the models: every number in its place, a dash where there is none."""

import numpy as np

from fuxictr_stem.analysis.slice_metrics import SliceLift, SliceMetrics
from fuxictr_stem.analysis.table_similarity import TableComparison
from fuxictr_stem.benchmark.report.analysis_tables import analysis_tables
from fuxictr_stem.benchmark.report.formatting import LACKING, Section
from fuxictr_stem.benchmark.score.model_analysis import Analysis, Slices, interval_of

NAN = float("nan")


def on_slices(auc, gauc):
    counts = (np.array([1234, 56, 0]), np.array([20, 3, 0]), np.array([100, 5, 0]))
    return SliceMetrics(np.array(auc), np.array(gauc), *counts)


def lift_of(metric, lift, low, high):
    ends = (np.array(values) for values in (lift, low, high))
    return SliceLift(metric, 0.95, *ends, np.array([20, 3, 0]), seeds=2)


def slices():
    single = on_slices([0.6, 0.5, NAN], [0.7, 0.4, NAN])
    first, second = (
        on_slices([0.7, 0.5, NAN], [0.6, NAN, NAN]),
        on_slices([0.8, 0.6, NAN], [0.7] * 3),
    )
    auc = lift_of("AUC", [0.15, -0.00012, NAN], [0.1, -0.002, NAN], [0.2, 0.001, NAN])
    return Slices(
        ["dominates", "comparable", "cold"],
        "By user.",
        "SingleTask",
        metrics={"STEMNet": {"like": [first, second]}, "SingleTask": {"like": [single]}},
        lifts={"STEMNet": {"like": [auc]}},
    )


def test_slices_have_sizes_means_over_seeds_and_lifts():
    analysis = Analysis(slices=slices())
    tables = analysis_tables(analysis, ["SingleTask", "PLE", "STEMNet"])
    assert list(tables) == [Section.SLICES]
    sizes, auc, gauc, lift = tables[Section.SLICES]
    assert sizes.rows == [
        ["dominates", "1,234", "20", "100"],
        ["comparable", "56", "3", "5"],
        ["cold", "0", "0", "0"],
    ]
    assert sizes.note == "By user."
    # The models' order is that of the report; one without slices is left out.
    assert auc.rows == [
        ["SingleTask", ".6000", ".5000", LACKING],
        ["STEMNet", ".7500", ".5500", LACKING],
    ]
    assert gauc.rows[1] == ["STEMNet", ".6500", LACKING, LACKING]
    assert lift.rows == [["STEMNet", "+.1500 [+.1000, +.2000]", "-.0001 [-.0020, +.0010]", LACKING]]
    assert "difference to SingleTask" in lift.note
    assert interval_of(analysis.slices.lifts["STEMNet"]["like"][0]) in lift.note


def test_the_audit_has_every_model_and_ranks_are_by_table():
    def comparison(tables, ranks):
        return TableComparison("all", tables, 1200, *[np.zeros(0)] * 3, np.array(ranks))

    analysis = Analysis(
        findings={"STEMNet": [], "MMoE": ["A part is dead.", "A loss is lost."]},
        tables={
            "MMoE": [comparison(["shared"], [3.14159])],
            "STEMNet": [comparison(["like", "view", "shared"], [1.0, 2.25, 2.5])],
            "none": [],
        },
    )
    tables = analysis_tables(analysis, [])
    assert set(tables) == {Section.FLOW, Section.TABLES}
    (audit,), (ranks,) = tables[Section.FLOW], tables[Section.TABLES]
    assert audit.rows == [["STEMNet", "no fault"], ["MMoE", "A part is dead. A loss is lost."]]
    assert ranks.header == ["model", "ids", "shared", "like", "view"]
    assert ranks.rows == [
        ["MMoE", "1,200", "3.14", LACKING, LACKING],
        ["STEMNet", "1,200", "2.50", "1.00", "2.25"],
    ]


def test_what_was_not_analysed_is_left_out():
    assert analysis_tables(Analysis(), ["STEMNet"]) == {}

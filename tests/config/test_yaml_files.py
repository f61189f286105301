"""Config files: their layout, broken YAML, anything at all in them, and those that are shipped."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from fuxictr.utils import load_config
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem import list_models, registry
from fuxictr_stem.config import schema
from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.config.yaml_files import read_sections
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import DATASET, EXPERIMENT, Net, merged, write

patient = settings(deadline=None, max_examples=150)
SHIPPED = Path(__file__).parents[2] / "config"
SMALL = yaml.safe_dump({"exp": EXPERIMENT})


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The small config's folder, its experiments in a folder of files."""
    monkeypatch.setattr(registry, "get_model", lambda name: Net)
    write(tmp_path)
    (tmp_path / "model_config.yaml").unlink()
    (tmp_path / "model_config").mkdir()
    return tmp_path


def put(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / "model_config" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_base_of_the_own_file_wins_else_the_only_one(toy):
    put(toy, a=f"{SMALL}\nBase: {{seed: 1}}", b="Base: {seed: 2}\nother: {}")
    assert load_experiment(toy, "exp")["seed"] == 1
    put(toy, a=SMALL)
    assert load_experiment(toy, "exp")["seed"] == 2
    put(toy, c="Base: {seed: 2}")
    assert load_experiment(toy, "exp")["seed"] == 2
    put(toy, c="Base: {seed: 3}")
    with pytest.raises(ConfigError, match=r"has no Base of its own, .*b.yaml and .*c.yaml differ"):
        load_experiment(toy, "exp")


def test_one_file_goes_before_a_folder_as_in_fuxictr(toy):
    put(toy, a="in_folder: {}")
    assert list_experiments(toy) == ["in_folder"]
    (toy / "model_config.yaml").write_text("b: {}\na: {}\nBase: {}\n.anchors: {}")
    assert list_experiments(toy) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expid 'exp' is not in .* There are: none"),
        ("exq: {}\nexp_long: {}", "Did you mean 'exq'.* There are: exp_long, exq. .*list"),
        ("- exp", "a.yaml must hold a mapping"),
        ("3: {}", "the name 3 must be text. Write it in quotes"),
        ("exp: [1]", "expid 'exp' must be a mapping"),
        (f"{SMALL}\nBase: 3", "a.yaml: Base must be a mapping"),
        (
            "exp:\n  model: Net\n  model: Net2",
            "a.yaml, line 3, column 3: the key 'model' appears",
        ),
        ("exp: {}\nexp: {}", "a.yaml, line 2, column 1: the key 'exp' appears twice"),
        ("exp:\n  seed: [1", "a.yaml, line "),
        ("exp:\n\tseed: 1", "a.yaml, line 2, column 1: found character"),
        ("exp:\n  seed: !!python/name:os.system x", r"line 2, column 9: .*tags .* not read"),
        ("exp:\n  seed: !!int x", "line 2, column 9: the value is not what its form or tag says"),
        ("exp:\n  seed: !!timestamp x", "line 2, column 9: the value is not"),
        ("exp: {? [a] : 1}", "line 1"),
        ("exp: *nothing", "line 1, column 6: found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("exp: \x07", "is not YAML in UTF-8"),
        ("exp: " + "[" * 3000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_named_with_the_line(toy, text, message):
    put(toy, a=text)
    with pytest.raises(ConfigError, match=message):
        load_experiment(toy, "exp")


def test_files_that_cannot_be_read(toy):
    (toy / "model_config" / "a.yaml").write_bytes(b"exp: \xff")
    with pytest.raises(ConfigError, match=r"a.yaml is not YAML in UTF-8"):
        load_experiment(toy, "exp")
    (toy / "model_config" / "a.yaml").unlink()
    with pytest.raises(ConfigError, match=r"neither model_config.yaml nor model_config/\*.yaml"):
        load_experiment(toy, "exp")
    with pytest.raises(ConfigError, match=r"config folder '.*/nowhere' is not there"):
        list_experiments(toy / "nowhere")
    with pytest.raises(ConfigError, match=r"dataset_config.yaml' cannot be read: Not a directory"):
        list_experiments(toy / "dataset_config.yaml")
    (toy / "dataset_config.yaml").unlink()
    put(toy, a=SMALL)
    with pytest.raises(ConfigError, match=r"exp.dataset_id: .* neither dataset_config.yaml"):
        load_experiment(toy, "exp")


def test_an_id_in_two_files_is_rejected(toy):
    put(toy, a=SMALL, b="exp: {}")
    with pytest.raises(ConfigError, match=r"expid 'exp' is in .*a.yaml and .*b.yaml"):
        load_experiment(toy, "exp")


@pytest.mark.parametrize(
    "name", ["../exp", "a/b", "", ".exp", "a..b", "Base", "exp\n", "é", 3, None]
)
def test_ids_that_could_be_paths_are_refused(toy, name):
    put(toy, a=SMALL)
    with pytest.raises(ConfigError, match="must be letters, digits"):
        load_experiment(toy, name)
    with pytest.raises(ConfigError, match="must be letters, digits"):
        load_dataset(toy, name)


def test_anchors_merges_and_dates_are_plain_yaml(toy):
    put(
        toy,
        a="""
        .shared: &shared {model: Net, seed: 1}
        .more: &more {<<: *shared, epochs: 2}
        exp: {<<: *more, dataset_id: toy, seed: 3, model_root: 2024-01-05}
        """,
    )
    params = load_experiment(toy, "exp")
    assert (params["seed"], params["epochs"], params["model_root"]) == (3, 2, "2024-01-05")


def test_merges_follow_yamls_rule(toy):
    """https://yaml.org/type/merge.html: own keys win, then the mapping that is named first."""
    put(
        toy,
        a="""
        .one: &one {seed: 1, epochs: 1, a: 1}
        .two: &two {seed: 2, epochs: 2, a: 2, b: 2}
        listed: {<<: [*one, *two]}
        turned: {<<: [*two, *one]}
        own: {epochs: 5, <<: [*one, *two], b: 5}
        nested: {<<: [{<<: *two, seed: 3}, *one]}
        twice: {<<: [*one, *two, *one]}
        itself: &it {seed: 1, <<: *it}
        """,
    )
    read = {s.name: s.settings for s in read_sections(toy / "model_config" / "a.yaml")}
    assert read["listed"] == {"seed": 1, "epochs": 1, "a": 1, "b": 2}
    assert read["turned"] == {"seed": 2, "epochs": 2, "a": 2, "b": 2}
    assert read["own"] == {"seed": 1, "epochs": 5, "a": 1, "b": 5}
    assert read["nested"] == {"seed": 3, "epochs": 2, "a": 2, "b": 2}
    assert read["twice"] == read["listed"]
    assert read["itself"] == {"seed": 1}
    for wrong in ("3", "[*one, 3]", "null"):
        put(toy, a=f".one: &one {{seed: 1}}\nexp: {{<<: {wrong}}}")
        with pytest.raises(ConfigError, match=r"a.yaml, line 2, .*<< must name a mapping"):
            list_experiments(toy)


def test_a_value_that_contains_itself_is_refused(toy):
    put(toy, a="exp: {model: Net, dataset_id: toy, metrics: &a [*a], model_root: &b {x: *b}}")
    with pytest.raises(ConfigError, match="2 problems"):
        load_experiment(toy, "exp")
    (toy / "dataset_config.yaml").write_text("toy: {source: &a {b: *a}, prepare: &c [*c]}")
    with pytest.raises(ConfigError, match=r"source: must be a mapping"):
        load_dataset(toy, "toy")


def outcome(call):
    """What a call returns, and the message that it ends with instead."""
    try:
        return call(), ""
    except ConfigError as error:
        return None, str(error)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.dates(),
    st.sampled_from(["user", "item", "click", "1e-6", "nn.Linear(1, 2)", "AUC", "copy_from(item)"]),
    st.sampled_from(["both(click, buy)", "both(buy, buy)", "both(item, x)"]),
)
SHAPES = (schema.Experiment, schema.Dataset, schema.Feature, schema.Label, schema.Prepare)
TABLES = [schema.MODEL, *(shape.model_fields for shape in SHAPES)]
KEYS = st.sampled_from(sorted({key for fields in TABLES for key in fields}))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(KEYS, SCALARS), inner, max_size=4),
    ),
    max_leaves=12,
)
CHANGES = st.dictionaries(st.one_of(KEYS, KEYS, SCALARS), VALUES, max_size=3)


@st.composite
def broken_datasets(draw):
    dataset = merged(DATASET, {})
    for cols in (dataset["feature_cols"], dataset["label_col"]):
        if draw(st.booleans()):
            cols[draw(st.integers(0, len(cols) - 1))].update(draw(CHANGES))
    return {**dataset, **draw(CHANGES)}


@pytest.mark.slow
@patient
@given(experiment=CHANGES, base=st.one_of(VALUES, CHANGES), dataset=broken_datasets())
def test_any_config_loads_or_is_refused_by_a_message(experiment, base, dataset):
    models = {"exp": {**EXPERIMENT, **experiment}, "Base": base}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "get_model", lambda name: Net)
        for name, content in (("model_config", models), ("dataset_config", {"toy": dataset})):
            text = yaml.safe_dump(content, allow_unicode=True)
            Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        for load in (lambda: load_experiment(folder, "exp"), lambda: load_dataset(folder, "toy")):
            loaded, refusal = outcome(load)
            assert len(refusal) < 100_000 if refusal else loaded["dataset_id"] == "toy"


@pytest.mark.slow
@patient
@given(
    st.one_of(
        st.binary(max_size=60),
        TEXT.map(str.encode),
        st.text("!&*?:-[]{}, \n<a1'\"|>%@#").map(str.encode),
    )
)
def test_any_bytes_are_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.yaml")
        file.write_bytes(content)
        sections, refusal = outcome(lambda: read_sections(file))
        assert refusal or all(isinstance(section.name, str) for section in sections)
        assert not refusal or str(file) in refusal


def shipped(kind: str) -> list[str]:
    names = [
        s.name for file in sorted((SHIPPED / kind).rglob("*.yaml")) for s in read_sections(file)
    ]
    return [name for name in names if name != "Base"]


def test_all_shipped_configs_are_found():
    assert sorted(shipped("model_config")) == list_experiments(SHIPPED)
    assert {"STEMNet_tiktok", "SharedBottom_tiktok"} <= set(shipped("model_config"))
    assert {"tiktok", "tiktok_sample"} <= set(shipped("dataset_config"))


@pytest.mark.parametrize("expid", shipped("model_config"))
def test_a_shipped_experiment_is_valid_and_fuxictrs_own_loader_reads_the_same(expid):
    ours, theirs = load_experiment(SHIPPED, expid), load_config(str(SHIPPED), expid)
    assert ours["model_id"] == expid
    assert ours["model"] in list_models()
    stand_in = ours.get("prepare", {}).get("stand_in")
    if stand_in is not None:
        assert load_experiment(SHIPPED, expid, dataset_id=stand_in)["dataset_id"] == stand_in
    per_task, penalties = ("task", "loss"), ("embedding_regularizer", "net_regularizer")
    for key in theirs.keys() - {"feature_cols", "label_col", "prepare"}:
        value = theirs[key]
        if key in per_task:
            value = [value] * len(ours["task_labels"])
        elif key in penalties:
            value = value or None
        assert ours[key] == value, key


@pytest.mark.parametrize("dataset_id", shipped("dataset_config"))
def test_a_shipped_dataset_is_valid(dataset_id):
    assert load_dataset(SHIPPED, dataset_id)["group_id"] is not None

"""Hostile input: refused in one message; nothing executed, nothing written or read elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.config.yaml_files import read_mapping
from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.errors import ConfigError, DataError
from tests.support import payloads as hostile
from tests.support.payloads import EVAL, MARK, Target, Touch
from tests.support.small_models import feature_map, small_model

pytestmark = pytest.mark.slow


@pytest.fixture
def target(tmp_path, monkeypatch, root_logging):
    return Target(tmp_path, monkeypatch)


def laughs(form: str, levels: int = 12) -> str:
    """Ten of the level before on each level: 10^12 values in a few hundred bytes."""
    lines = ["x0: &x0 {k: v}"] if form == "merges" else ["x0: &x0 [lol]"]
    for i in range(1, levels):
        names = ", ".join([f"*x{i - 1}"] * 10)
        lines.append(f"x{i}: &x{i} " + (f"{{<<: [{names}]}}" if form == "merges" else f"[{names}]"))
    return "\n".join(lines) + f"\nhostile: {{source: {{a: *x{levels - 1}}}}}\n"


YAML = {
    "a function is called": f"!!python/object/apply:pathlib.Path.touch [{MARK}]",
    "a shell": f"!!python/object/apply:os.system ['touch {MARK}']",
    "an object": f"!!python/object/new:subprocess.Popen [['touch', {MARK}]]",
    "an object with a state": f"!!python/object:pathlib.Path {{touch: {MARK}}}",
    "a name": "!!python/name:os.system",
    "a module": "!!python/module:os",
    "a tuple": "!!python/tuple [1, 2]",
    "a custom tag": f"!touch {MARK}",
    "a tag of nowhere": f"!<tag:example.com,2000:touch> {MARK}",
    "nesting": "[" * 100_000,
    "nested mappings": "{a: " * 5_000,
    "a number of many digits": "1" * 100_000,
    "a key that stands twice": "{a: 1, a: 2}",
    "a key that is a list": "{? [a] : 1}",
    "a NUL": '"a\\0b"',
    "half a character": '"\\ud800"',
}


@pytest.mark.parametrize("place", ["model_config", "dataset_config", "benchmark"])
@pytest.mark.parametrize("value", YAML)
def test_yaml(target, capsys, place, value):
    _write_yaml(target, place, f"hostile: {target.armed(YAML[value])}\n")
    told = target.refuses(capsys, *_command(place))
    assert "toy.yaml" in told


@pytest.mark.parametrize("place", ["model_config", "dataset_config", "benchmark"])
def test_yaml_that_grows_beyond_all_bounds(target, capsys, place):
    _write_yaml(target, place, laughs("aliases"))
    assert "values" in target.refuses(capsys, *_command(place))


def test_merged_keys_are_read_right_or_refused_in_little_memory(tmp_path):
    file = tmp_path / "toy.yaml"
    tracemalloc.start()
    try:
        file.write_text(laughs("merges"), encoding="utf-8")
        # However often a key is merged into a mapping, it is there once.
        assert read_mapping(file)["hostile"] == {"source": {"a": {"k": "v"}}}
        keys = ", ".join(f"k{i}: {i}" for i in range(1_000))
        grown = "\n".join(f"y{i}: {{<<: *x, own: {i}}}" for i in range(101))
        file.write_text(f"x: &x {{{keys}}}\n{grown}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"toy.yaml, line 102.*more than 100,000 values"):
            read_mapping(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", ["3", "null", "True", "1.5", "[a]", "{a: b}", '"\\0"'])
@pytest.mark.parametrize("level", ["names", "settings"])
def test_yaml_keys_that_are_no_text(target, capsys, key, level):
    if level == "names":
        _write_yaml(target, "model_config", f"? {key}\n: {{}}\n")
    else:
        _write_settings(target, f"? {key}\n: 1\n")
    assert "toy.yaml" in target.refuses(capsys, *_command("model_config"))


@pytest.mark.parametrize("number", ["0x" + "f" * 10_000, "1" * 4_000, "-" + "1" * 4_000, "1.e+999"])
@pytest.mark.parametrize(
    "key",
    ["seed", "batch_size", "num_tasks", "learning_rate", "early_stop_patience", "net_dropout"],
)
def test_numbers_beyond_any_type(target, capsys, key, number):
    target.project.model.pop(key, None)
    _write_settings(target, f"{key}: {number}\n")
    assert f"toy_test.{key}" in target.refuses(capsys, *_command("model_config"))


def _write_settings(target: Target, more: str) -> None:
    text = yaml.safe_dump(target.project.model) + more
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    _write_yaml(target, "model_config", f"toy_test:\n{lines}", append=False)


def _write_yaml(target: Target, place: str, text: str, append: bool = True) -> None:
    target.project.write()
    path = Path("config", place, "toy.yaml")
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if append and path.exists() else ""
    path.write_text(f"{before}\n{text}", encoding="utf-8")


def _command(place: str) -> list[str]:
    if place == "benchmark":
        return ["benchmark", "--config", "config/benchmark/toy.yaml", "--out", "out"]
    return ["run", "--config", "config", "--expid", "toy_test"]


EVALUATED = [EVAL, f"os.system('touch {MARK}')", "__class__.__base__", "__import__('os')", "os"]
CALLS = [
    f"partial(nn.init.normal_, std={EVAL})",
    f"partial({EVAL}, std=1)",
    f"partial(nn.init.normal_, **{EVAL})",
    f"(lambda *x: {EVAL})",
    f"[{EVAL} for _ in (1,)]",
    f"nn.init.normal_ if {EVAL} else 0",
    f"nn.init.normal_({EVAL})",
    f"nn.Linear({EVAL}, 2)",
    f"nn.Linear(4, 2, bias={EVAL})",
    f"layers.MaskedAveragePooling({EVAL})",
    f"f'{{{EVAL}}}'",
    "nn.Module",
    "nn.init.__dict__",
    "losses.os.system",
]
EXPERIMENT = ["embedding_initializer", "loss", "optimizer", "hidden_activations", "metrics"]
EXPERIMENT += [
    "monitor",
    "monitor_mode",
    "embedding_regularizer",
    "net_regularizer",
    "model",
    "task",
]
EXPERIMENT += ["gradient_balancing", "loss_weight", "gate_input", "task_labels", "sample_weight"]
COLUMN = [
    "dtype",
    "type",
    "feature_encoder",
    "preprocess",
    "normalizer",
    "pretrained_emb",
    "padding",
]
COLUMN += ["share_embedding", "pretrain_usage", "embedding_dim", "max_len"]


LABEL = ["dtype", "preprocess", "missing", "parent"]


@pytest.mark.parametrize("key", EXPERIMENT)
def test_text_of_an_experiment_that_fuxictr_would_evaluate(target, key):
    for text in [*EVALUATED, *CALLS]:
        for value in (text, [text], {text: 1}):
            target.project.model[key] = target.armed(value)
            _refused_config(target, key)


@pytest.mark.parametrize("key", COLUMN)
def test_text_of_a_column_that_fuxictr_would_evaluate(target, key):
    for text in [*EVALUATED, *CALLS]:
        for value in (text, [text], ["nn.Linear(4, 4)", text]):
            target.project.dataset["feature_cols"][0][key] = target.armed(value)
            _refused_config(target, key)


@pytest.mark.parametrize("key", LABEL)
def test_text_of_a_label_that_fuxictr_would_evaluate(target, key):
    for text in [*EVALUATED, *CALLS]:
        target.project.dataset["label_col"][0][key] = target.armed(text)
        _refused_config(target, key)


def test_text_of_feature_specs_that_fuxictr_would_evaluate(target):
    for text in [*EVALUATED, *CALLS]:
        spec = {"name": "user", "feature_encoder": target.armed(text)}
        target.project.model["feature_specs"] = [spec]
        _refused_config(target, "feature_encoder")


def _refused_config(target: Target, key: str) -> None:
    target.project.write_configs()
    with pytest.raises(ConfigError, match=key):
        load_experiment("config", "toy_test")
    assert not target.mark.exists()


@pytest.mark.parametrize("key", ["embedding_initializer", "loss", "optimizer", "metrics"])
def test_such_text_ends_the_command_in_one_message(target, capsys, key):
    target.project.model[key] = target.armed(EVAL)
    assert key in target.run(capsys)


def test_such_text_where_text_may_stand_is_text(target, capsys):
    payload = target.armed(EVAL).replace("/", "_")
    column = {"name": payload, "dtype": "str", "type": "categorical", "fill_na": target.armed(EVAL)}
    column |= {"source": target.armed(EVAL)}
    target.project.dataset["feature_cols"].append(column)
    for name, frame in target.project.frames.items():
        values = [target.armed(EVAL) if i % 3 else "x" for i in range(frame.height)]
        target.project.frames[name] = frame.with_columns(
            frame["user"].alias("unused"), hostile.text_column(payload, values)
        )
    target.project.write()
    code, told = target.command(capsys, "run", "--config", "config", "--expid", "toy_test")
    assert code == 0, told


PATHS = ["../outside", "/abs", "a/b", "a/../b", "..", ".", "...", "", " ", ".hidden", "~", "~root"]
PATHS += ["a\0b", "a\nb", "a\\b", "..\\outside", "C:\\x", "C:x", "\\\\host\\x", "é", "-", "$HOME"]
PATHS += ["x" * 201, "x" * 100_000, "%2e%2e%2f", "Base"]


@pytest.mark.parametrize("name", PATHS)
def test_ids_with_path_parts(target, capsys, name):
    target.project.write()
    run = ["run", "--config", "config", "--expid"]
    assert "expid must be" in target.refuses(capsys, *run, name)
    prepare = ["prepare", "--config", "config", "--dataset", name]
    assert "dataset_id must be" in target.refuses(capsys, *prepare)
    with pytest.raises(ConfigError, match="dataset_id must be"):
        load_dataset("config", name)


@pytest.mark.parametrize("name", [name for name in PATHS if "\0" not in name])
def test_ids_with_path_parts_in_the_configs(target, capsys, name):
    project = target.project
    # Also where a section of that name exists.
    project.experiments = {name: dict(project.model)} if name != "Base" else {}
    project.write()
    datasets = {"toy": project.dataset, name: project.dataset}
    Path("config/dataset_config/toy.yaml").write_text(yaml.safe_dump(datasets), encoding="utf-8")
    run = ["run", "--config", "config", "--expid"]
    assert "expid must be" in target.refuses(capsys, *run, name)
    for key, value in (("dataset_id", name), ("stand_in", name)):
        model, dataset = dict(project.model), dict(project.dataset)
        if key == "dataset_id":
            model[key] = value
        else:
            dataset["prepare"] = {"preparer": "tiktok", "raw_dir": "raw", "stand_in": value}
        text = yaml.safe_dump({"toy_test": model}, allow_unicode=True)
        Path("config/model_config/toy.yaml").write_text(text, encoding="utf-8")
        datasets = {"toy": dataset, name: project.dataset}
        text = yaml.safe_dump(datasets, allow_unicode=True)
        Path("config/dataset_config/toy.yaml").write_text(text, encoding="utf-8")
        assert key in target.refuses(capsys, *run, "toy_test")


BENCHMARK = {"dataset_id": "toy", "experiments": "toy_test", "seeds": [1], "metrics": ["AUC"]}


@pytest.mark.parametrize("key", ["dataset_id", "experiments", "exclude", "single_task", "labels"])
@pytest.mark.parametrize("name", ["../outside", "/abs", "a/b", "..", "a\nb", "x" * 100_000, EVAL])
def test_names_of_a_benchmark_with_path_parts(target, capsys, key, name):
    name = target.armed(name)
    value = [name] if key == "labels" else name
    content = {**BENCHMARK, key: value}
    target.project.write()
    folder = Path("config/benchmark")
    folder.mkdir()
    (folder / "toy.yaml").write_text(yaml.safe_dump(content))
    told = target.refuses(capsys, *_command("benchmark"))
    # Where no experiment is left, that is what is said.
    assert ("not on " if key == "dataset_id" else f"{key}: ") in told or "no experiment" in told


@pytest.mark.parametrize("settings", ["settings", "search", "experiment_settings"])
@pytest.mark.parametrize("key", ["model_root", "optimizer", "embedding_initializer", "data_root"])
def test_settings_of_a_benchmark(target, capsys, settings, key):
    text = target.armed(f"../outside/{EVAL}")
    given = {
        "settings": {key: text},
        "search": {key: [text]},
        "experiment_settings": {"*": {key: text}},
    }
    target.project.write()
    folder = Path("config/benchmark")
    folder.mkdir()
    content = {**BENCHMARK, settings: given[settings]}
    (folder / "toy.yaml").write_text(yaml.safe_dump(content))
    assert key in target.refuses(capsys, *_command("benchmark"))


NAMES = ["../outside", "/abs", "a/b", ".", "*", "^.*$"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["feature", "label"])
def test_column_names_that_are_paths_or_patterns(target, capsys, name, what):
    _rename(target, name, what)
    assert f"column {name!r}" in target.run(capsys)


@pytest.mark.parametrize(
    "name", ["..", "..\\outside", "~", "C:\\x", "a\nb", "%2e%2e", "a;b", "é" * 99]
)
@pytest.mark.parametrize("what", ["feature", "label"])
def test_other_column_names_stay_within_the_folders(target, capsys, name, what):
    _rename(target, name, what)
    target.project.write()
    code, told = target.command(capsys, "run", "--config", "config", "--expid", "toy_test")
    assert code == 0, told


def _rename(target: Target, name: str, what: str) -> None:
    old = "age" if what == "feature" else "view"
    columns = target.project.dataset["feature_cols" if what == "feature" else "label_col"]
    next(c for c in columns if c["name"] == old)["name"] = name
    frames = target.project.frames
    for split, frame in frames.items():
        frames[split] = frame.rename({old: name})


def _pretrained(target: Target, name: str) -> Path:
    path = Path(name).absolute()
    column = {"name": "user", "active": True, "dtype": "str", "type": "categorical"}
    column |= {"pretrained_emb": str(path), "pretrain_dim": 3, "embedding_dim": 3}
    target.project.dataset["feature_cols"] = [column]
    return path


@pytest.mark.parametrize("suffix", ["h5", "npz", "parquet"])
def test_a_pickle_that_poses_as_vectors(target, capsys, suffix):
    hostile.write_pickle(_pretrained(target, f"vectors.{suffix}"), target.mark)
    assert "pretrained_emb of column 'user'" in target.run(capsys)


@pytest.mark.parametrize("name", ["key", "value"])
def test_vectors_that_are_pickled_objects(target, capsys, name):
    arrays = {"key": np.array(["u0", "u1"]), "value": np.ones((2, 3))}
    arrays[name] = np.array([Touch(target.mark)] * 2, object)
    np.savez(_pretrained(target, "vectors.npz"), **arrays)
    assert "pretrained_emb of column 'user'" in target.run(capsys)


@pytest.mark.parametrize("write", [*hostile.ELSEWHERE, hostile.with_references])
def test_vectors_that_lie_elsewhere(target, capsys, write):
    write(_pretrained(target, "vectors.h5"), target.outside)
    told = target.run(capsys)
    assert "pretrained_emb of column 'user'" in told
    assert "rejected" in told


def test_vectors_of_its_own_are_read(target, capsys):
    hostile.vectors(_pretrained(target, "vectors.h5"))
    target.project.write()
    assert target.command(capsys, *_command("model_config"))[0] == 0


@pytest.mark.parametrize("form", ["pickle", "torch.save", "empty", "safetensors of another model"])
def test_weights_that_are_none(target, tmp_path, form):
    model = small_model("MMoE", feature_map())
    path = tmp_path / "model.safetensors"
    if form == "pickle":
        hostile.write_pickle(path, target.mark)
    elif form == "torch.save":
        torch.save({"weight": Touch(target.mark)}, path)
    elif form == "empty":
        path.touch()
    else:
        other = small_model("AITM", feature_map())
        other.save_weights(str(path))
    with pytest.raises(DataError, match="model.safetensors cannot be read"):
        model.load_weights(str(path))
    assert not target.mark.exists()


@pytest.mark.parametrize(
    "state",
    [
        "weights.pt",
        None,
        {"a": "text"},
        {"a": np.array([{}], object)},
        {3: torch.ones(1)},
        {"a": {"b": torch.ones(1)}},
    ],
)
def test_published_weights_that_are_none(state):
    model = small_model("MMoE", feature_map())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match="state_dict"):
        load_reference_state_dict(model, state)
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())


def column_elsewhere(how: str, folder: Path, outside: Path) -> None:
    """Have a column of a cache lie in a file outside of it."""
    path, elsewhere = folder / "train.h5", outside / "train.h5"
    shutil.copy(path, elsewhere)
    with h5py.File(elsewhere, "r+") as file:
        file["age"][:] = 99
        rows = file["age"].shape
    (outside / "bytes").write_bytes(bytes(4 * rows[0]))
    with h5py.File(path, "r+") as file:
        del file["age"]
        if how == "external link":
            file["age"] = h5py.ExternalLink(str(elsewhere), "age")
        elif how == "soft link":
            file["age"] = h5py.SoftLink("/user")
        elif how == "raw storage":
            file.create_dataset(
                "age", rows, "f4", external=[(str(outside / "bytes"), 0, 4 * rows[0])]
            )
        elif how == "references":
            file.create_dataset("age", data=[file["user"].ref] * rows[0], dtype=h5py.ref_dtype)
        else:
            layout = h5py.VirtualLayout(rows, "f4")
            layout[:] = h5py.VirtualSource(str(elsewhere), "age", rows)
            file.create_virtual_dataset("age", layout)


def forge(folder: Path, change) -> None:
    """Change a manifest, and make all that it says of the folder's files true."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("digest")
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name]["bytes"] = len(content)
        if "sha256" in manifest["files"][name]:
            manifest["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
    change(manifest)
    text = json.dumps(manifest, sort_keys=True)
    manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(manifest))


def names_outside(manifest: dict) -> None:
    manifest["files"]["../../../../outside/secret"] = {"bytes": 6}


def rows_outside(manifest: dict) -> None:
    manifest["rows"]["../../../../outside/train"] = manifest["rows"]["train"]


def files_in_a_list(manifest: dict) -> None:
    manifest["files"] = list(manifest["files"])


HOW = ["external link", "soft link", "raw storage", "virtual", "references"]
MANIFESTS = [names_outside, rows_outside, files_in_a_list]


@pytest.mark.parametrize("attack", [*HOW, *MANIFESTS])
def test_a_cache_that_points_elsewhere_is_not_read(target, capsys, attack):
    target.project.write()
    assert target.command(capsys, *_command("model_config"))[0] == 0
    result = next(Path("checkpoints").rglob("result.json"))
    before = json.loads(result.read_text())
    (manifest,) = Path("data").rglob("manifest.json")
    folder = manifest.parent
    if callable(attack):
        forge(folder, attack)
    else:
        column_elsewhere(attack, folder, target.outside)
        forge(folder, lambda manifest: None)
    # A cache is built anew from its sources; nothing of another file is in the result.
    assert target.command(capsys, *_command("model_config"))[0] == 0
    after = json.loads(result.read_text())
    assert after["test"] == before["test"]
    with h5py.File(folder / "train.h5") as file:
        assert isinstance(file.get("age", getlink=True), h5py.HardLink)
        assert file["age"].dtype == np.float32
        assert not file["age"].external
        assert not file["age"].is_virtual
    assert set(json.loads(manifest.read_text())["rows"]) == {"train", "valid", "test"}

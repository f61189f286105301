"""An encoder's files: whole, or named by what is wrong with them; quick to open, with nothing heavy."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.data.encoding.encoder_files import Fitted, copy_encoder, write_encoder
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.encoding.vocabulary import Vocabulary
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime import whole_folder
from tests.support.datasets import COLUMNS, assert_same, feature, frames, write_dataset
from tests.support.encoding_cases import CASES
from tests.support.preprocess_package import small


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return open_cache(write_dataset(folder, frames(*COLUMNS), CASES["all"]))


@pytest.fixture
def folder(cache, tmp_path):
    """A copy of the encoder, as a run's folder has it."""
    copy_encoder(cache.folder, tmp_path / "encoder [1]*")
    return tmp_path / "encoder [1]*"


def test_a_copy_is_whole_and_the_same(cache, folder, tmp_path):
    names = {path.name for path in folder.iterdir()}
    assert names == {"encoder.json", *(f"vocabulary_{i}.arrow" for i in range(3))}
    assert all((cache.folder / name).read_bytes() == (folder / name).read_bytes() for name in names)
    again = tmp_path / "again"
    again.mkdir()
    write_encoder(again, RowEncoder.load(folder).fitted)
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)
    encoders = [RowEncoder.load(place) for place in (cache.folder, folder, again)]
    for frame in frames(*COLUMNS).values():
        arrays = [encoder.encode(frame) for encoder in encoders]
        assert_same({"x": arrays[1]}, {"x": arrays[0]})
        assert_same({"x": arrays[2]}, {"x": arrays[0]})


@pytest.mark.parametrize("name", ["encoder.json", "vocabulary_1.arrow"])
@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "flipped", "a link"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    raw = path.read_bytes()
    middle = len(raw) // 2
    if damage in ("absent", "a link"):
        path.unlink()
    if damage == "a link":
        (folder / "other").write_bytes(raw)
        path.symlink_to(folder / "other")
    elif damage != "absent":
        changed = {"empty": b"", "cut": raw[:-1]}
        flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
        path.write_bytes(changed.get(damage, flipped))
    with pytest.raises(DataError) as caught:
        RowEncoder.load(folder)
    assert str(path) in str(caught.value)


def sealed_again(folder, change):
    """Change encoder.json, its digest with it, as only someone who means to would."""
    path = folder / "encoder.json"
    account = json.loads(path.read_text())
    del account["digest"]
    change(account)
    path.write_text(json.dumps({**account, "digest": whole_folder.digest(account)}))


FOREIGN = {
    "another version": lambda a: a.update(format=99),
    "no plan": lambda a: a.pop("plan"),
    "a plan that is none": lambda a: a.update(plan=[]),
    "columns that are none": lambda a: a["plan"].update(columns=[{"name": "cat"}]),
    "features that are none": lambda a: a.update(features=[{"what": 1}]),
    "a type that is none": lambda a: a["plan"]["features"][0].update(dtype="os.system"),
    "a file elsewhere": lambda a: a["files"].update({"../../etc/passwd": {}}),
    "files that are none": lambda a: a.update(files=3),
    "a vocabulary too many": lambda a: a["unknown"].append(1),
    "no number": lambda a: a.update(unknown=["x", "y", "z"]),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_account_is_rejected(folder, what):
    sealed_again(folder, FOREIGN[what])
    with pytest.raises(DataError, match=r"encoder\.json|vocabulary_3"):
        RowEncoder.load(folder)


def test_another_vocabulary_of_the_right_name_is_found(folder):
    shutil.copy(folder / "vocabulary_0.arrow", folder / "vocabulary_2.arrow")
    with pytest.raises(DataError, match="vocabulary_2.arrow is not what was written"):
        RowEncoder.load(folder)


def test_functions_are_those_of_training(package, tmp_path):
    features = [
        feature("hour", preprocess="hour"),
        feature("square", dtype="int", preprocess="bucket(price)"),
        feature("price", "numeric", "float", active=False),
        feature("time", active=False),
    ]
    dataset = small(tmp_path / "d", features)
    folder = open_cache(dataset).folder
    encoder = RowEncoder.load(folder)
    assert encoder.columns_needed(["hour"]) == ["time"]
    assert encoder.columns_needed(["square"]) == ["price"]
    frame = pl.read_csv(dataset["train_data"], infer_schema_length=None)
    arrays = encoder.encode(frame)
    assert arrays["hour"].tolist() == [1, 3, 2]
    assert encoder.encode_row(frame.row(0, named=True))["hour"].tolist() == [1]
    blocks = list(read_blocks(encoder, [tmp_path / "d" / "train.csv"], encoder.names))
    assert_same({"x": blocks[0].arrays}, {"x": arrays})
    package.path.write_text(package.path.read_text() + "\n# another\n")
    with pytest.raises(
        ConfigError, match="preprocess function 'hour' was .*'bucket' was"
    ) as caught:
        RowEncoder.load(folder)
    assert str(folder) in str(caught.value)
    (package.info / "entry_points.txt").write_text("")
    with pytest.raises(ConfigError, match="No installed package has a preprocess function 'hour'"):
        RowEncoder.load(folder)


def test_nothing_heavy_is_imported(cache, tmp_path):
    frames(*COLUMNS)["test"].write_csv(tmp_path / "rows.csv")
    code = f"""
import sys
from pathlib import Path
import polars as pl
from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
encoder = RowEncoder.load(Path({str(cache.folder)!r}))
frame = pl.read_csv({str(tmp_path / "rows.csv")!r})
encoder.encode(frame), encoder.encode_row(frame.row(0, named=True))
light = {{"torch", "fuxictr", "ray", "sklearn", "pandas", "pyarrow", "pydantic", "h5py"}} & set(sys.modules)
list(read_blocks(encoder, [Path({str(tmp_path / "rows.csv")!r})], encoder.names))
print(light, {{"torch", "fuxictr", "ray", "sklearn", "pandas"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set() set()\n", done.stdout + done.stderr


def test_many_threads_at_once(folder):
    written = list(frames(*COLUMNS).values()) * 8
    expected = [RowEncoder.load(folder).encode(frame) for frame in written]
    encoder = RowEncoder.load(folder)
    rows = [frame.row(0, named=True) for frame in written]
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(encoder.encode, written))
        firsts = list(pool.map(encoder.encode_row, rows))
    for found, first, said in zip(arrays, firsts, expected, strict=True):
        assert_same({"x": found}, {"x": said})
        assert_same({"x": first}, {"x": {name: array[:1] for name, array in said.items()}})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_five_million_tokens(folder, tmp_path, kind):
    """Searched where they lie: the ids of all of them, in frames, rows and lists."""
    count = 5_000_000
    numbers = np.random.default_rng(3).permutation(2 * count)[:count]
    tokens = pl.Series(numbers).cast(pl.String) if kind == "text" else pl.Series(numbers)
    words = Vocabulary(tokens, np.arange(1, count + 1), count + 1)
    fitted = RowEncoder.load(folder).fitted
    name = "cat" if kind == "text" else "num_id"
    place = next(f.vocabulary for f in fitted.features if f.name == name)
    others = [words if i == place else w for i, w in enumerate(fitted.vocabularies)]
    large = tmp_path / "large"
    large.mkdir()
    write_encoder(large, Fitted(fitted.plan, fitted.features, others, {}))
    encoder = RowEncoder.load(large)
    some = np.random.default_rng(4).integers(0, 2 * count, 20_000)
    ids = np.full(2 * count, count + 1)
    ids[numbers] = np.arange(1, count + 1)
    values = pl.Series(some).cast(tokens.dtype)
    assert encoder.encode(pl.DataFrame({name: values}), [name])[name].tolist() == ids[some].tolist()
    for number, value in zip(some[:500], values[:500], strict=True):
        assert encoder.encode_row({name: value}, [name])[name].tolist() == [ids[number]]
    if kind == "text":
        whole = pl.DataFrame({"cat": some})
        assert encoder.encode(whole, ["cat"])["cat"].tolist() == ids[some].tolist()
        lists = pl.DataFrame({"seq": values[:4000].reshape((1000, 4)).cast(pl.List(pl.String))})
        found = encoder.encode(lists, ["seq"])["seq"]
        assert found[:, :4].tolist() == ids[some[:4000]].reshape(1000, 4).tolist()
        lists.write_parquet(tmp_path / "lists.parquet")
        block = next(read_blocks(encoder, [tmp_path / "lists.parquet"], ["seq"]))
        assert (block.arrays["seq"] == found).all()

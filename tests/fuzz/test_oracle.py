"""The oracle of inputs against values worked out by hand, and the verdict against planted faults."""

from __future__ import annotations

import math
import re
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuxictr_stem.errors import DataError, OutputError
from tests.support.fuzz import verdict as fuzz_verdict
from tests.support.fuzz.readings import Input
from tests.support.fuzz.verdict import REJECTED, RIGHT, SILENT, judge
from tests.support.oracle.files import NoReading
from tests.support.oracle.rows_and_ids import right_reading

CLICK = {"name": "click", "dtype": "float"}


def column(name, dtype="str", kind="categorical", **more):
    return {"name": name, "dtype": dtype, "type": kind, **more}


def dataset(folder, features, files, data_format="csv", **more):
    """Write a file per split, or the one that is given for each; return the config."""
    config = {"data_format": data_format, "feature_cols": features, "label_col": [CLICK], **more}
    by_split = files if isinstance(files, dict) and "train" in files else {"train": files}
    for split in ("train", "valid", "test"):
        content = by_split.get(split, by_split["train"])
        path = folder / f"{split}.{data_format}"
        config[f"{split}_data"] = str(path)
        if data_format == "csv":
            path.write_bytes(content.encode())
        else:
            rows = len(next(iter(content.values())))
            pq.write_table(pa.table({**content, "click": [i % 2 for i in range(rows)]}), path)
    return config


def ids(config, name, split="train"):
    return right_reading(config).arrays[split][name].tolist()


def test_rows_and_labels_of_quotes_that_are_not_doubled(tmp_path):
    text = 'user,title,click\nu1,"5\\" pad",1\nu2,b,0\nu3,"7\\" tv",1\nu4,d,0\n'
    right = right_reading(dataset(tmp_path, [column("user")], text))
    assert right.rows["train"] == 4
    assert right.arrays["train"]["click"].tolist() == [1, 0, 1, 0]
    assert right.doubts


@pytest.mark.parametrize(
    "text", ["u,click\na,1\n\nb,0\n", "u,click\r\na,1\r\n\r\nb,0\r\n\r\n", "\nu,click\na,1\nb,0\n"]
)
def test_blank_lines_are_no_rows(tmp_path, text):
    right = right_reading(dataset(tmp_path, [column("u")], text))
    assert right.rows["train"] == 2
    assert not right.doubts


def test_ids_by_frequency_then_text_and_the_least_count(tmp_path):
    text = "u,click\n" + "".join(f"{u},1\n" for u in ["b", "c", "a", "c", "", "z", "b"])
    config = dataset(tmp_path, [column("u")], {"train": text, "valid": "u,click\nnew,0\nz,0\n"})
    # b and c occur twice, a and z once; 5 is unknown, as is the missing one.
    assert ids(config, "u") == [1, 2, 3, 2, 5, 4, 1]
    assert ids(config, "u", "valid") == [5, 4]
    config["min_categr_count"] = 2
    assert ids(config, "u") == [1, 2, 3, 2, 3, 3, 1]


def test_ids_of_numbers_are_in_their_order_and_a_missing_one_is_0(tmp_path):
    text = "n,click\n7,1\n-2,0\n,1\n7,0\n0,0\n"
    config = dataset(tmp_path, [column("n", "int")], text)
    assert ids(config, "n") == [3, 1, 2, 3, 2]
    assert ("fill", "n") in right_reading(config).warned
    config["feature_cols"][0]["fill_na"] = -1
    assert ids(config, "n") == [3, 1, 4, 3, 2]
    assert not right_reading(config).warned


# b occurs three times, a twice; x of valid is unknown, and 3.
@pytest.mark.parametrize(
    ("padding", "right", "cut"),
    [
        ("post", [[2, 1, 0], [1, 0, 0], [0, 0, 0], [2, 0, 1]], [2, 1]),
        ("pre", [[0, 2, 1], [0, 0, 1], [0, 0, 0], [2, 0, 1]], [3, 3]),
    ],
)
def test_sequences(tmp_path, padding, right, cut):
    text = "s,click\na^b,1\nb,0\n,0\na^^b,1\n"
    files = {"train": text, "valid": "s,click\na^b^x^x,1\n"}
    config = dataset(tmp_path, [column("s", kind="sequence", padding=padding)], files)
    assert ids(config, "s") == right
    config["feature_cols"][0]["max_len"] = 2
    assert ids(config, "s", "valid") == [cut]


def test_elements_of_lists_keep_their_places(tmp_path):
    files = {"s": [["a", None, "c"], ["a^c"], [], None]}
    config = dataset(tmp_path, [column("s", kind="sequence")], files, "parquet")
    # By frequency, then text: a, a^c, c.
    assert ids(config, "s") == [[1, 0, 3], [2, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_columns_that_share_a_table_meet_by_value(tmp_path):
    files = {"user": [1, 2, 3, 1], "inviter": [2.0, None, 1.0, 3.0]}
    features = [column("user"), column("inviter", share_embedding="user")]
    config = dataset(tmp_path, features, files, "parquet")
    # 1 occurs twice; 4 is unknown.
    assert ids(config, "user") == [1, 2, 3, 1]
    assert ids(config, "inviter") == [2, 4, 1, 3]
    assert right_reading(config).doubts


def test_new_tokens_of_a_shared_table_come_behind_the_others(tmp_path):
    text = "a,b,click\nx,q,1\ny,q,0\nx,x,0\n"
    config = dataset(tmp_path, [column("a"), column("b", share_embedding="a")], text)
    assert ids(config, "a") == [1, 2, 1]
    assert ids(config, "b") == [3, 3, 1]


def test_times_of_two_units_are_one_value(tmp_path):
    days = [datetime(2024, 1, day) for day in (1, 2, 2)]
    files = {
        "train": {"day": pa.array(days, pa.timestamp("us"))},
        "valid": {"day": pa.array(days, pa.timestamp("ns"))},
        "test": {"day": pa.array([d.date() for d in days], pa.date32())},
    }
    config = dataset(tmp_path, [column("day")], files, "parquet")
    assert [ids(config, "day", s) for s in files] == [[2, 1, 1]] * 3


def test_labels(tmp_path):
    config = dataset(tmp_path, [column("u")], "u,click\na,1\nb,-1\nc,0\n")
    config["label_col"] = [{**CLICK, "missing": -1}]
    one, missing, zero = ids(config, "click")
    assert (one, zero) == (1, 0)
    assert math.isnan(missing)


def test_scaled_numbers(tmp_path):
    text = "p,click\n1,1\n3,0\n,1\n"
    config = dataset(tmp_path, [column("p", "float", "numeric", normalizer="MinMaxScaler")], text)
    assert ids(config, "p") == [1 / 3, 1.0, 0.0]
    config["feature_cols"][0] |= {"normalizer": "StandardScaler", "fill_na": 2}
    assert ids(config, "p") == pytest.approx([-math.sqrt(1.5), math.sqrt(1.5), 0])


def test_hidden_files_are_no_parts(tmp_path):
    config = dataset(tmp_path, [column("u")], "u,click\na,1\nb,0\n")
    (tmp_path / "tr").mkdir()
    for name in ("part-0.csv", ".part-0.csv", "_part-1.csv"):
        (tmp_path / "tr" / name).write_text("u,click\na,1\nb,0\n")
    for path in ("tr", "tr/*.csv", "**/*art-0.csv"):
        config["train_data"] = str(tmp_path / path)
        assert right_reading(config).rows["train"] == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("u,n,click\na,1,1\nb,2\n", "another number of fields"),
        ("u,n,click\na,x,1\n", "is no number"),
        ("u,n,click\na,1,\n", "a label is missing"),
        ("u,click\na,1\n", "no column n"),
        ("u,n,click\n", "has no rows"),
        ("u,u,n,click\na,a,1,1\n", "twice"),
    ],
)
def test_no_reading(tmp_path, text, why):
    with pytest.raises(NoReading, match=why):
        right_reading(dataset(tmp_path, [column("u"), column("n", "int")], text))


FILES = {f"{split}.csv": b"u,n,click\na,,1\nb,0,0\na,5,0\n" for split in ("train", "valid", "test")}
GOOD = Input(
    0,
    FILES,
    {
        "feature_cols": [column("u"), column("n", "int", fill_na=-1)],
        "label_col": [CLICK],
        **{f"{split}_data": f"{split}.csv" for split in ("train", "valid", "test")},
    },
    ("planted",),
)


def broken(name="train.csv"):
    return Input(0, {**FILES, name: b"u,n,click\na,x,1\n"}, GOOD.dataset, ("planted",))


def test_verdicts():
    assert judge(GOOD).kind == RIGHT
    assert judge(broken()).kind == REJECTED


def ends(error):
    def open_cache(dataset):
        raise error

    return open_cache


@pytest.mark.parametrize(
    ("example", "opened", "told"),
    [
        (GOOD, ends(RuntimeError("a defect")), "RuntimeError: a defect"),
        (GOOD, ends(DataError("something is wrong")), "does not say where"),
        (GOOD, ends(OutputError("train.csv")), "OutputError"),
        (broken(), ends(DataError("train.csv has a fault")), r"does not name \['n'\]"),
    ],
)
def test_errors_that_say_too_little_are_silent_faults(monkeypatch, example, opened, told):
    monkeypatch.setattr(fuzz_verdict, "open_cache", opened)
    verdict = judge(example)
    assert verdict.kind == SILENT
    assert re.search(told, verdict.detail)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("train.csv", b"u,n,click\na,,1\nb,0,0\n", "rows"),
        ("valid.csv", b"u,n,click\nb,,1\nb,0,0\na,5,0\n", "u of valid, row 1: 2, right 1"),
        ("test.csv", b"u,n,click\na,,0\nb,0,0\na,5,0\n", "click of test, row 1: 0, right 1"),
    ],
)
def test_another_row_id_or_label_is_found(monkeypatch, file, content, told):
    real = fuzz_verdict.open_cache

    def opened(dataset):
        # As if the reading had found something else than the file holds.
        split = file.partition(".")[0]
        with open(dataset[f"{split}_data"], "wb") as stream:
            stream.write(content)
        return real(dataset)

    monkeypatch.setattr(fuzz_verdict, "open_cache", opened)
    verdict = judge(GOOD)
    assert verdict.kind == SILENT
    assert told in verdict.detail

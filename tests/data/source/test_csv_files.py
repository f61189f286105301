"""No row and no value of a CSV file is other than Python's csv module reads it, or the line is named."""

import csv
import gzip
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.validate import check_source
from fuxictr_stem.errors import DataError
from tests.support.datasets import (
    SPLITS,
    assert_same,
    cached,
    feature,
    fuxictr_says,
    label,
    write_dataset,
)

FEATURES = [feature("a"), feature("c")]
SPARK = 'user,title,click\nu1,"5\\" pad",1\nu2,b,0\nu3,"7\\" tv",1\nu4,d,0\n'


def dataset_of(folder, text, features=None, labels=None, name="train.csv", **more):
    """Write one file that is all three splits."""
    path = Path(folder) / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    dataset = write_dataset(folder, {}, features or FEATURES, labels, **more)
    return dataset | {f"{split}_data": str(path) for split in SPLITS}


def read(dataset, scratch):
    """Return the rows of train as they are encoded: text and numbers by column."""
    path = Path(dataset["train_data"])
    source = open_source(plan_columns(dataset), {"train": [path]})
    source, stats = check_source(source, Path(scratch) / "text")
    frame = source.frame("train").collect()
    assert frame.height == stats["train"].rows
    return frame


@st.composite
def texts(draw):
    """CSV text of any kind, most of it with the columns a, b, y and c."""
    sep = draw(st.sampled_from([",", ",", "\t", ";", " ", "'"]))
    quote = draw(st.sampled_from(['"', '"', '"', "'", None, "|"]))
    escape = draw(st.sampled_from([None, None, None, "\\"]))
    if sep == quote:
        sep = ","
    special = [quote or '"', '"', sep, " ", "\n", "\r\n", "#", "\x00", "é"]
    special += ["\\"] if escape is None else ["\\\\", "\\" + (quote or sep), "\\" + sep]
    value = st.lists(st.sampled_from(["a", "b"] * 9 + special), max_size=5).map("".join)
    ends = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    names = [
        *draw(st.permutations(["a", "y", draw(st.sampled_from(["b", 'b"', "b\nb", ""]))])),
        "c",
    ]
    lines = [_joined(draw, names, sep, quote)]
    for _ in range(draw(st.integers(0, 5))):
        fields = [draw(value) if name != "y" else draw(_NUMBERS) for name in names]
        lines.append(_joined(draw, fields, sep, quote))
        lines += [""] * draw(st.sampled_from([0, 0, 0, 1, 2]))
    text = ends.join(lines) + draw(st.sampled_from([ends, ends, "", ends * 2]))
    return draw(st.sampled_from(["", "", "", "\ufeff"])) + text, sep, quote, escape


_NUMBERS = st.sampled_from(["0", "1"] * 8 + ["1 ", "\t0", "1.0", "", '"'])


def _joined(draw, fields, sep, quote):
    """Join fields, as a writer would quote them, or as none would."""
    written = []
    for field in fields:
        how = draw(st.sampled_from(["right"] * 20 + ["bare", "undoubled"]))
        needs = any(c in field for c in (sep, quote or "\n", "\n", "\r")) or draw(st.booleans())
        if quote is None:
            written.append(field.replace(sep, "").replace("\n", "") if how == "right" else field)
        elif how == "bare" or (how == "right" and not needs):
            written.append(field)
        else:
            inner = field if how == "undoubled" else field.replace(quote, quote * 2)
            written.append(quote + inner + quote)
    return sep.join(written)


def csv_rows(path, sep, quote, escape):
    """Read a file by Python's csv module; blank lines are no rows."""
    quoting = csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(
            file, delimiter=sep, quotechar=quote, escapechar=escape, quoting=quoting, strict=True
        )
        return [row for row in rows if row]


def agrees(drawn, folder):
    """Compare what is read with the csv module's; return whether anything was."""
    text, sep, quote, escape = drawn
    labels = [label(missing=float("nan"))]
    dataset = dataset_of(folder, text, labels=labels, sep=sep, csv_quote=quote, csv_escape=escape)
    try:
        found = read(dataset, folder)
    except DataError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "train.csv" in said
        assert "by a third" not in said
        assert "another reader" not in said
        return False
    header, *rows = csv_rows(dataset["train_data"], sep, quote, escape)
    for name in ("a", "c"):
        said = [row[header.index(name)] for row in rows]
        assert found[name].fill_null("").to_list() == said
    said = [row[header.index("y")].strip() for row in rows]
    np.testing.assert_array_equal(found["y"], [float(y) if y else np.nan for y in said])
    return True


@settings(deadline=None, max_examples=40)
@example(("a,y,c\n\nx,1,\n\n\n", ",", '"', None))
@example(('a,y,c\n5" x,1,z\n"p",0,7"\n', ",", '"', None))
@example(('"a","""b""",y,c\n1,2,1,"x\n\n"""\n', ",", '"', None))
@given(texts())
def test_rows_and_values_are_the_csv_modules(drawn):
    with tempfile.TemporaryDirectory() as folder:
        agrees(drawn, folder)


TITLES = [feature("user"), feature("title")]
CLICK = [label("click")]


def test_quotes_that_are_not_doubled_are_rejected_with_their_line(tmp_path):
    dataset = dataset_of(tmp_path, SPARK, [feature("user")], CLICK)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert 'train.csv (train): line 2, at u1,"5\\" pad",1: a quoted field continues' in str(
        caught.value
    )
    assert 'set csv_escape ("\\\\" for a backslash)' in str(caught.value)
    assert "csv_quote: null" in str(caught.value)


def test_two_such_titles_in_6000_rows(tmp_path):
    rows = [f"u{i},t{i},{i % 2}" for i in range(6000)]
    rows[1000], rows[5000] = 'u,"5\\" pad",1', 'u,"7\\" tv",0'  # one click more
    dataset = dataset_of(tmp_path, "user,title,click\n" + "\n".join(rows), TITLES, CLICK)
    with pytest.raises(DataError, match="line 1,002, at"):
        open_cache(dataset)
    cache = open_cache(dataset | {"csv_escape": "\\"})
    assert cache.rows["train"] == 6000
    assert cache.labels["train"]["click"]["sum"] == 3001


@pytest.mark.parametrize(
    ("keys", "titles"),
    [
        ({"csv_escape": "\\"}, ['5" pad', "b", '7" tv', "d"]),
        ({"csv_quote": None}, ['"5\\" pad"', "b", '"7\\" tv"', "d"]),
        ({"csv_quote": "'"}, ['"5\\" pad"', "b", '"7\\" tv"', "d"]),
    ],
)
def test_the_options_read_them(tmp_path, keys, titles):
    dataset = dataset_of(tmp_path, SPARK, TITLES, CLICK) | keys
    frame = read(dataset, tmp_path)
    assert frame["title"].to_list() == titles
    assert frame["click"].to_list() == [1, 0, 1, 0]
    cache = open_cache(dataset)
    assert cache.rows == dict.fromkeys(SPLITS, 4)
    assert cache.labels["train"]["click"]["positives"] == 2
    left = [path.name for path in cache.folder.iterdir()]
    assert "text" not in left, "a copy goes when the cache is built"


def test_a_quote_within_an_unquoted_field_is_a_character(tmp_path):
    text = 'user,title,click\nu1,5" pad,1\nu2,b,0\nu3,7" tv,1\nu4,d,0\n'
    dataset = dataset_of(tmp_path, text, TITLES, CLICK)
    frame = read(dataset, tmp_path)
    said = pd.read_csv(dataset["train_data"])
    assert frame["title"].to_list() == said["title"].to_list() == ['5" pad', "b", '7" tv', "d"]
    assert open_cache(dataset).rows["train"] == 4


@pytest.mark.parametrize("keys", [{}, {"missing": float("nan")}, {"missing": -1}, {"fill_na": 0}])
@pytest.mark.parametrize("text", ["a,y\na,1\n\nb,0\n", "\r\n\na,y\r\na,1\r\n\r\nb,0\r\n\r\n\r\n"])
def test_blank_lines_are_no_rows(tmp_path, keys, text):
    dataset = dataset_of(tmp_path, text, [feature("a")], [label(**keys)])
    cache = open_cache(dataset)
    assert cache.rows["train"] == len(pd.read_csv(dataset["train_data"])) == 2
    assert cached(cache)["train"]["y"].tolist() == [1, 0]


def test_a_quoted_empty_field_is_a_row_of_one_column_and_a_blank_line_is_not(tmp_path):
    # As csv.DictReader, pandas and pyarrow have it.
    features = [feature("x", preprocess="copy_from(y)")]
    dataset = dataset_of(tmp_path, 'y\n1\n\n""\n0\n', features, [label(missing=float("nan"))])
    y = read(dataset, tmp_path)["y"]
    np.testing.assert_array_equal(y, pd.read_csv(dataset["train_data"])["y"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'a,y,c\n1,1,2\n"x,0,3\n',
            'line 3, at "x,0,3: the quote opens a field that no quote closes',
        ),
        ('a,y,c\n"p\n""q",1,"2\n3,4,5\n', "line 3, at "),
        ('a,y,c\n1,1,"2" \n', 'line 2, at 1,1,"2" : a quoted field continues after a quote'),
        ('"a"b,y,c\n1,1,2\n', 'line 1, at "a"b,y,c: a quoted field continues after a quote'),
        ("a,y,c\n1,1,2\rx,0,3\n", "line 2, at '1,1,2\\rx,0,3': a CR without LF, outside of quotes"),
    ],
)
def test_files_without_one_right_reading(tmp_path, text, line):
    with pytest.raises(DataError) as caught:
        read(dataset_of(tmp_path, text), tmp_path)
    assert f"train.csv (train): {line}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,y,c\nx\\z,1,2\n", "line 2, at x\\z,1,2: the escape character is before a character"),
        ("a,y,c\nx,1,2\\", "line 2, at x,1,2\\: the file ends after an escape"),
        ('a,y,c\n"x"z,1,2\n', "Escape or double a quote within a quoted value."),
    ],
)
def test_escapes_that_readers_differ_on(tmp_path, text, says):
    with pytest.raises(DataError) as caught:
        read(dataset_of(tmp_path, text, csv_escape="\\"), tmp_path)
    assert says in str(caught.value)


def test_a_quote_in_a_column_s_name(tmp_path):
    text = '"us""er","two\nlines",click\nu1,a,1\nu2,b,0\n'
    features = [feature('us"er'), feature("two\nlines")]
    frame = read(dataset_of(tmp_path, text, features, CLICK), tmp_path)
    assert frame['us"er'].to_list() == ["u1", "u2"]
    assert frame["two\nlines"].to_list() == ["a", "b"]


def test_a_value_longer_than_a_block_and_rows_around_it(tmp_path):
    long = "x" * 5_000_000
    dataset = dataset_of(tmp_path, f'a,y,c\n1,1,"{long}\n{long}"\n2,0,3\n')
    assert read(dataset, tmp_path)["c"].str.len_bytes().to_list() == [10_000_001, 1]
    # With a row too long for its block, the second reader once said nothing.
    with pytest.raises(DataError, match="another number of fields"):
        read(dataset_of(tmp_path, f'a,y,c\n1,1,"{long}\n{long}",4\n2,0,3\n'), tmp_path)


NUMBERS = ["1", " 1", "1 ", "\t1\t", "+7", "007", "-0", " 12 ", "\u00a03", "9007199254740993"]


@pytest.mark.parametrize(
    ("kind", "dtype", "cast", "more"),
    [
        ("numeric", "float", float, ["1.", " .5 ", "1e3 ", "-1E-2"]),
        ("numeric", "int", int, []),
        ("categorical", "int", int, []),
        ("meta", "int", int, []),
    ],
)
def test_numbers_with_blanks_are_what_python_says(tmp_path, kind, dtype, cast, more):
    values = NUMBERS + more
    text = "n,c,y\n" + "".join(f"{value},z{i},{i % 2} \n" for i, value in enumerate(values))
    features = [feature("n", kind, dtype), feature("c")]
    frame = read(dataset_of(tmp_path, text, features), tmp_path)
    assert frame["n"].to_list() == [cast(value.strip()) for value in values]
    assert frame["y"].to_list() == [i % 2 for i in range(len(values))]


@pytest.mark.parametrize("value", ["1_000", "٣", "1e3", "7.0", "0x10", "x", "1 2", str(2**63)])
def test_a_number_that_is_none_is_named_with_its_row(tmp_path, value):
    text = f"n,c,y\n1,a,0\n2 ,b,1\n{value},c,0\n"
    features = [feature("n", dtype="int"), feature("c")]
    with pytest.raises(DataError) as caught:
        open_cache(dataset_of(tmp_path, text, features))
    assert f"column 'n' is not a whole number (int) in 1 row of train; first in {tmp_path}" in str(
        caught.value
    )
    assert f"row 3, value {value!r}" in str(caught.value)
    assert "row 2" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.csv.gz", "train.tsv", "train.tsv.gz"])
def test_gzipped_and_tab_separated_files(tmp_path, name):
    sep = "\t" if ".tsv" in name else ","
    text = 'a,y,c\nx,1,"p\n,q"\n\nz,0,5" r\n'.replace(",", sep)
    path = tmp_path / "plain.csv"
    path.write_text(text)
    frame = read(dataset_of(tmp_path, text, name=name, sep=sep), tmp_path)
    said = pd.read_csv(path, sep=sep)
    for column in ("a", "c", "y"):
        assert frame[column].to_list() == said[column].to_list()
    folder = tmp_path / "parts"
    folder.mkdir()
    (tmp_path / name).rename(folder / name)
    dataset = dataset_of(tmp_path, text, sep=sep) | {"train_data": str(folder)}
    assert open_cache(dataset).rows["train"] == 2
    (folder / "train.csv").write_text(text)
    with pytest.raises(DataError, match="have different endings, so the same rows may be in both"):
        open_cache(dataset)


def test_a_gzipped_file_that_was_cut_off(tmp_path):
    dataset = dataset_of(tmp_path, "a,y,c\n" + "x,1,2\n" * 9999, name="train.csv.gz")
    path = Path(dataset["train_data"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train\.csv\.gz \(train\): cannot be read: "):
        open_cache(dataset)


def test_null_values(tmp_path):
    text = 'a,n,s,y,c\nNA,1,NA,1,x\nb,NA,p^NA,NA ,x\n-,\\N,"NA",0,\n'
    features = [feature("a"), feature("n", "numeric", "float"), feature("s", "sequence")]
    labels = [label(missing=float("nan"))]
    dataset = dataset_of(tmp_path, text, features, labels, null_values=["NA", "-", "\\N"])
    frame = read(dataset, tmp_path)
    assert frame["a"].to_list() == [None, "b", None]
    assert frame["n"].to_list() == [1, None, None]
    assert frame["s"].to_list() == [None, ["p", "NA"], None]
    np.testing.assert_array_equal(frame["y"], [1, np.nan, 0])
    said = pd.read_csv(dataset["train_data"], keep_default_na=False, na_values=["NA", "-", "\\N"])
    assert frame["a"].is_null().to_list() == said["a"].isna().to_list()
    with pytest.raises(DataError, match="value 'NA'"):
        open_cache({key: value for key, value in dataset.items() if key != "null_values"})


@pytest.mark.parametrize(
    ("text", "sep", "says"),
    [
        (
            "sep=,\na,y,c\nx,1,2\n",
            ",",
            "its first line 'sep=,' is for Excel. Delete that line, and ",
        ),
        ("sep=;\na;y;c\nx;1;2\n", ",", 'write sep: ";" in the config'),
        ("a\ty\tc\nx\t1\t2\n", ",", "is one column: is sep ',' right? Write sep: \"\\t\", or "),
    ],
)
def test_a_wrong_separator_is_told_with_the_right_one(tmp_path, text, sep, says):
    with pytest.raises(DataError) as caught:
        open_cache(dataset_of(tmp_path, text, sep=sep))
    assert says in str(caught.value)


def test_every_key_of_the_reading_makes_another_cache(tmp_path):
    dataset = dataset_of(tmp_path, "a,y,c\nx,1,2\nz,0,1\n")
    keys = [
        {},
        {"csv_quote": None},
        {"csv_quote": "'"},
        {"csv_escape": "\\"},
        {"null_values": ["2"]},
    ]
    assert len({open_cache(dataset | more).folder for more in keys}) == len(keys)
    assert open_cache(dataset | {"csv_quote": '"'}).folder == open_cache(dataset).folder


def test_files_that_fuxictrs_own_preprocessing_would_read_wrong_are_refused(tmp_path):
    for text in ("a,y,c\nx,1,2\n\nz,0,1\n", 'a,y,c\n5" x,1,2\nz,0,1\n'):
        dataset = dataset_of(tmp_path, text)
        source = open_source(plan_columns(dataset), {"train": [Path(dataset["train_data"])]})
        with pytest.raises(DataError, match="FuxiCTR's own preprocessing cannot read that"):
            check_source(source)


@pytest.mark.parametrize("fill", [{}, {"fill_na": "x"}])
def test_a_copy_has_the_ids_of_the_file_itself(tmp_path, fill):
    """A quoted empty field is a text, an empty one is missing: FuxiCTR's ids, copied or not."""
    text = 'a,n,y,c\n"",1,1,x\n,2,0,x\nx,,1,"y"\n"q""",7,0,y\n'
    features = [feature("a", **fill), feature("n", dtype="int"), feature("c", "sequence")]
    dataset = dataset_of(tmp_path, text, features)
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(cached(open_cache(dataset)), said)
    other = dataset_of(tmp_path, text.replace("\n", "\n\n"), features, name="blank.csv")
    assert_same(cached(open_cache(other)), said)

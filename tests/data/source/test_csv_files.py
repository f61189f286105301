"""No row and no value of a CSV file is other than Python's csv module reads it, or the line is named."""

import csv
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
from tests.support.csv_text import CLICK, TITLES, dataset_of, read
from tests.support.datasets import assert_same, cached, feature, fuxictr_says, label


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


def test_a_quote_within_an_unquoted_field_is_a_character(tmp_path):
    text = 'user,title,click\nu1,5" pad,1\nu2,b,0\nu3,7" tv,1\nu4,d,0\n'
    dataset = dataset_of(tmp_path, text, TITLES, CLICK)
    frame = read(dataset, tmp_path)
    said = pd.read_csv(dataset["train_data"])
    assert frame["title"].to_list() == said["title"].to_list() == ['5" pad', "b", '7" tv', "d"]
    assert open_cache(dataset).rows["train"] == 4


def test_a_quote_in_a_column_s_name(tmp_path):
    text = '"us""er","two\nlines",click\nu1,a,1\nu2,b,0\n'
    features = [feature('us"er'), feature("two\nlines")]
    frame = read(dataset_of(tmp_path, text, features, CLICK), tmp_path)
    assert frame['us"er'].to_list() == ["u1", "u2"]
    assert frame["two\nlines"].to_list() == ["a", "b"]


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

"""FuxiCTR's processor fits: its statistics, and what makes no vocabulary."""

from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.fill_values import filled_frame
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.errors import DataError
from tests.support.datasets import COLUMNS, SPLITS, feature, frames, with_labels, write_dataset
from tests.support.encoding_cases import CASES


def test_statistics_are_fuxictrs(tmp_path):
    # More rows than a block is counted at a time, and merges between.
    from fuxictr.preprocess import FeatureProcessor

    from fuxictr_stem.data.encoding import count_tokens as counting
    from fuxictr_stem.data.encoding.fit import Processor
    from fuxictr_stem.runtime.group import ALONE

    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES["all"])
    plan = plan_columns(dataset)
    source = open_source(plan, find_files(dataset))
    processor = Processor(source, tmp_path, counting.count_share(source, tmp_path, ALONE))
    train = filled_frame(plan, source.frame("train"))
    meta = pl.concat([filled_frame(plan, source.frame(s)).select("group") for s in SPLITS])
    text = train.with_columns(pl.col("seq").list.join("^"))
    theirs = FeatureProcessor._collect_statistics(processor, text, meta)
    assert processor._collect_statistics(train, meta) == theirs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_MERGE_ROWS", 2)
        blocks = counting.count_tokens(train, ["cat", "seq"], block_rows=1)
        many = counting.TokenCounts()
        for _ in range(20):
            many.add(pl.Series(["a", "b", "a"]))
            assert len(many._blocks) <= 3, "counts are merged on the way"
        assert many.counts() == {"a": 40, "b": 20}
    for name, found in blocks.items():
        assert found.counts() == theirs[name]["value_counts"]
    assert blocks["seq"].longest == theirs["seq"]["max_len"] == 4


def test_empty_vocabularies_are_named(tmp_path):
    written = {
        split: frame.with_columns(empty=pl.lit("")) for split, frame in frames("cat", "seq").items()
    }
    features = [
        feature("cat", min_categr_count=3),
        feature("filled", fill_na="a", min_categr_count=3, preprocess="copy_from(cat)"),
        feature("seq", "sequence"),
        feature("empty"),
        feature("nobody", "meta", preprocess="copy_from(empty)"),
    ]
    dataset = write_dataset(tmp_path, written, features, min_categr_count=9)
    features[3]["min_categr_count"] = 1
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    message = str(caught.value)
    assert "column 'cat' would have an empty vocabulary: min_categr_count is 3" in message
    assert "occurs 2 times in train" in message
    assert "column 'filled' would have an empty vocabulary: min_categr_count is 3" in message
    assert "column 'seq' would have an empty vocabulary: min_categr_count is 9" in message
    assert "column 'empty' has no value in train" in message
    assert "column 'nobody' has no value in any split" in message
    assert not list(Path(dataset["data_root"]).rglob("*.h5"))


@pytest.mark.parametrize("token", ["__PAD__", "__OOV__"])
@pytest.mark.parametrize(
    "columns",
    [
        [feature("x")],
        [feature("x", "meta")],
        [feature("x", "sequence")],
        [feature("cat"), feature("x", share_embedding="cat")],
        [feature("twin", preprocess="copy_from(x)"), feature("x", active=False)],
    ],
)
@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_fuxictrs_own_tokens_are_rejected(tmp_path, columns, token, data_format):
    values = ["a", "b", f"{token}^a" if columns[-1]["type"] == "sequence" else token, "b"]
    frames = dict.fromkeys(SPLITS, with_labels({"x": values, "cat": ["a", "b", "b", "b"]}))
    dataset = write_dataset(
        tmp_path,
        frames,
        [*columns, feature("cat2", preprocess="copy_from(cat)")],
        None,
        data_format,
    )
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    times = "3 times" if columns[0]["type"] == "meta" else "once"
    assert f"column 'x' holds '{token}' {times}; first in {tmp_path}" in str(caught.value)
    assert f"train.{data_format}, row 3. FuxiCTR's vocabularies reserve" in str(caught.value)

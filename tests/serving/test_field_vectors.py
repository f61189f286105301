"""The vectors of a run's ids by raw value: what the model reads, in frames and in files."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.errors import ConfigError, OutputError
from fuxictr_stem.runtime.outputs import final_name
from fuxictr_stem.serving import field_vectors
from tests.support.processes import killed_at
from tests.support.project import Project, toy_rows


def inputs_of(run, frame):
    """What the model's first layers read of each field, by name: (K, rows, width)."""
    arrays = run.encoder.encode(frame, run.features)
    embedding = run.model.embedding_layer
    with torch.no_grad():
        wide = embedding({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()}).numpy()
    widths = list(embedding.widths.values())
    return dict(
        zip(embedding.features, np.split(wide, np.cumsum(widths)[:-1], axis=2), strict=True)
    )


# The shared table is the last in the model.
TABLES = {"shared": 2, "like": 0, "view": 1}


@pytest.mark.parametrize("field", ["user", "item", "author"])
def test_vectors_are_what_the_model_reads(run, finished, field):
    frame = run.embeddings(field)
    assert frame.columns == ["key", *TABLES]
    assert frame.schema["shared"] == pl.Array(pl.Float32, 4)
    rows = finished.test.filter(pl.col(field).is_in(frame["key"].implode()))
    read = inputs_of(run, rows)[field]
    places = rows.join(frame.with_row_index("at"), left_on=field, right_on="key", how="left")["at"]
    for name, table in TABLES.items():
        vectors = frame[name].to_numpy()[places.to_numpy()]
        # Pretrained vectors are projected: a sum of a row may differ with the batch.
        np.testing.assert_allclose(vectors, read[table], rtol=1e-5 if field == "author" else 0)
        task = None if name == "shared" else name
        alone = run.table(field, task)
        assert alone.keys.to_list() == frame["key"].to_list()
        assert np.array_equal(alone.vectors, frame[name].to_numpy())
        assert alone.vectors.dtype == np.float32


def test_every_value_of_train_is_a_key_once(run, finished):
    assert sorted(run.embeddings("user")["key"]) == sorted(set(finished.frames["train"]["user"]))
    # Those of the file of vectors, too.
    authors = {f"a{i}" for i in range(9)} | set(finished.frames["train"]["author"])
    assert sorted(run.embeddings("author")["key"]) == sorted(authors)


def test_a_sequence_has_the_vectors_of_its_tokens(run, finished):
    frame = run.embeddings("tags")
    assert sorted(frame["key"]) == [f"t{i}" for i in range(9)]
    rows = finished.test[:9].with_columns(tags=pl.Series(frame["key"]))
    read = inputs_of(run, rows)["tags"]
    for name, table in TABLES.items():
        np.testing.assert_allclose(frame[name].to_numpy(), read[table], rtol=1e-6)


def test_all_other_values_have_the_key_null(run, finished):
    assert run.embeddings("item")["key"].null_count() == 0
    frame = run.embeddings("item", unknown=True)
    assert frame["key"].to_list() == [*run.embeddings("item")["key"], None]
    rows = finished.test[:1].with_columns(item=pl.lit("never seen"))
    read = inputs_of(run, rows)["item"]
    for name, table in TABLES.items():
        assert np.array_equal(frame[name].to_numpy()[-1], read[table][0])
    assert run.table("item", "like", unknown=True).keys[-1] is None


def test_files_hold_the_frames_whatever_the_block(run, tmp_path, monkeypatch, capfd):
    whole = {field: run.embeddings(field) for field in ("user", "item", "tags", "author")}
    monkeypatch.setattr(field_vectors, "_BLOCK_BYTES", 200)
    assert run.embeddings("user").equals(whole["user"])
    assert main(["embeddings", "--run", "run", "--out", "vectors"]) == 0
    assert "Wrote vectors" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "vectors").iterdir()) == [
        f"{field}.parquet" for field in sorted(whole)
    ]
    for field, frame in whole.items():
        path = tmp_path / "vectors" / f"{field}.parquet"
        assert pl.read_parquet(path).equals(frame)
        assert pq.ParquetFile(path).num_row_groups == -(-len(frame) // 4)
    # Another reader finds lists of a fixed size.
    read = pd.read_parquet(path)
    assert read["key"].tolist() == frame["key"].to_list()
    assert np.array_equal(np.stack(read["like"]), frame["like"].to_numpy())


def test_only_the_fields_that_are_wanted(run, tmp_path):
    out = tmp_path / "empty"
    out.mkdir()
    assert run.write_embeddings(out, ["item"]) == [out / "item.parquet"]
    assert [path.name for path in out.iterdir()] == ["item.parquet"]


def test_fields_without_vectors_are_one_message(run, tmp_path, capfd):
    for fields, parts in {
        "age": ["field 'age' is numeric: its vector is its value times a learnt one"],
        "itm,nothing,age": [
            "there is no field 'itm'. Did you mean 'item'? The fields with vectors: user, item",
            "there is no field 'nothing'.",
            "field 'age' is numeric",
        ],
    }.items():
        assert main(["embeddings", "--run", "run", "--out", "out", "--fields", fields]) == 2
        said = capfd.readouterr().err
        assert all(part in said for part in parts), said
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(ConfigError, match="there is no table for 'lik'. Did you mean 'like'?"):
        run.table("item", "lik")
    with pytest.raises(ConfigError, match="there is no field 'nothing'"):
        run.embeddings("nothing")


def test_a_folder_that_is_there_stays_as_it_is(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("kept")
    with pytest.raises(OutputError, match="already exists"):
        run.write_embeddings(out)
    assert (out / "mine").read_text() == "kept"


def test_what_is_cut_off_leaves_no_folder_and_the_next_removes_the_rest(run, tmp_path, monkeypatch):
    left = tmp_path / "out.tmp-99999999-0badcafe"
    left.mkdir()
    (left / "item.parquet").write_text("half")
    other = tmp_path / "other.tmp-4711-0badcafe"
    other.mkdir()
    original = field_vectors.FieldVectors._read

    def fail(self, field, ids):
        if field == "item":
            raise OSError("no space")
        return original(self, field, ids)

    monkeypatch.setattr(field_vectors.FieldVectors, "_read", fail)
    with pytest.raises(OutputError, match="no space"):
        run.write_embeddings(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "run"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["_file_name", "put_in_place"])
def test_a_killed_process_leaves_no_folder(place, run, tmp_path):
    command = ["embeddings", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    killed_at(f"fuxictr_stem.serving.field_vectors:{place}", main, command)
    left = [path.name for path in tmp_path.iterdir() if path.name != "run"]
    assert [final_name(name) for name in left] == ["out"]
    assert left != ["out"]
    assert main(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def trained(folder, monkeypatch, model=None, columns=None, frames=None):
    """A run of a project of one's own."""
    monkeypatch.chdir(folder)
    project = Project(folder)
    project.model = model or project.model
    project.dataset["feature_cols"] = columns or project.dataset["feature_cols"]
    project.frames = frames or project.frames
    assert project.run() == 0
    return fuxictr_stem.load(folder / "checkpoints" / "toy" / "toy_test")


def with_history(frame):
    """A number of each item, and a history of items."""
    number = pl.col("item").str.slice(1).cast(pl.Int64)
    follower = pl.concat_str(pl.lit("i"), (number + 1) % 15)
    return frame.with_columns(number=number, history=pl.concat_str("item", follower, separator="^"))


@pytest.mark.slow
def test_a_single_table_whole_numbers_and_fields_that_share(tmp_path, monkeypatch, root_logging):
    layers = {"bottom_hidden_units": [8], "tower_hidden_units": [4], "epochs": 1}
    model = {"model": "SharedBottom", "dataset_id": "toy", "task": "binary_classification"}
    model |= {"loss": "binary_crossentropy", "metrics": ["AUC"], "embedding_dim": 4, **layers}
    columns = [
        {"name": ["user", "item"], "dtype": "str", "type": "categorical"},
        {"name": "number", "dtype": "int", "type": "categorical", "embedding_dim": 2},
        {"name": "history", "dtype": "str", "type": "sequence", "share_embedding": "item"},
    ]
    columns[-1] |= {"splitter": "^", "max_len": 2}
    frames = {"train": toy_rows(300, 0), "valid": toy_rows(100, 1), "test": toy_rows(100, 2)}
    frames = {split: with_history(frame) for split, frame in frames.items()}
    run = trained(tmp_path, monkeypatch, model, columns, frames)
    frame = run.embeddings("item")
    assert frame.columns == ["key", "shared"]
    assert run.embeddings("history").equals(frame)
    numbers = run.embeddings("number")
    assert numbers.schema == {"key": pl.Int64, "shared": pl.Array(pl.Float32, 2)}
    assert sorted(numbers["key"]) == list(range(15))
    files = run.write_embeddings("all")
    assert [path.name for path in files] == ["user.parquet", "item.parquet", "number.parquet"]
    assert pl.read_parquet(files[2]).equals(numbers)
    assert [path.name for path in run.write_embeddings("one", ["history"])] == ["history.parquet"]
    with pytest.raises(ConfigError, match="The tables are the shared one alone"):
        run.table("item", "like")
    assert run.gate_weights(frames["test"]).is_empty()


def tastes(rows, seed):
    """Users of three kinds: each likes the items of one kind, and views those of one of other kinds."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 30, rows), rng.integers(0, 18, rows)
    noise = rng.random((2, rows)) < 0.05
    return toy_rows(rows, seed).with_columns(
        user=pl.Series([f"u{i}" for i in user]),
        item=pl.Series([f"i{i}" for i in item]),
        like=pl.Series(((item % 3 == user % 3) ^ noise[0]).astype(int)),
        view=pl.Series(((item // 6 == user % 3) ^ noise[1]).astype(int)),
    )


@pytest.mark.slow
def test_neighbours_of_an_index_are_of_one_kind(tmp_path, monkeypatch, root_logging):
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    frames = {"train": tastes(6000, 0), "valid": tastes(500, 1), "test": tastes(500, 2)}
    model = {**Project(tmp_path).model, "epochs": 12, "embedding_dim": 8}
    run = trained(tmp_path, monkeypatch, model, frames=frames)
    run.write_embeddings("vectors", ["item"])
    frame = pl.read_parquet(tmp_path / "vectors" / "item.parquet")
    item = np.array([int(key[1:]) for key in frame["key"]])
    for task, kind in (("like", item % 3), ("view", item // 6)):
        vectors = np.ascontiguousarray(frame[task].to_numpy())
        index = faiss.IndexFlatL2(vectors.shape[1])
        index.add(vectors)
        nearest = index.search(vectors, 2)[1][:, 1]
        # By chance it is 5 of 17.
        assert np.mean(kind[nearest] == kind) >= 0.8, task


def test_a_label_called_as_a_column_is_refused(run):
    run.model.labels[0] = "key"
    with pytest.raises(ConfigError, match="label 'key'"):
        run.embeddings("item")

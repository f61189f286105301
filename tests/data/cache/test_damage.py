"""What is damaged, killed, full, locked or hostile: found, named, and rebuilt or refused."""

import errno
import json
import logging
import os
import resource
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from fuxictr_stem.data.cache import build as build_module
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.damage import check, damages
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.runtime import whole_folder
from tests.support.datasets import (
    SPLITS,
    assert_same,
    cached,
    feature,
    label,
    with_labels,
    write_dataset,
)
from tests.support.processes import CONTEXT, SECONDS, alone, at_once, killed_at, start

pytestmark = pytest.mark.slow

ROWS = {"cat": ["a", "b", "a", "c"], "seq": ["a^b", "", "c^d", "a"], "num": [1.0, 2.5, None, 4.0]}
FILES = [f"{split}.h5" for split in SPLITS]
FILES += ["manifest.json", "feature_map.json", "feature_vocab.json", "pretrained_cat.npz"]
FILES += ["encoder.json", "vocabulary_0.arrow"]


def write(folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    vectors = folder / "vectors.npz"
    np.savez(vectors, key=np.array(["a", "b"]), value=np.ones((2, 3)))
    features = [
        feature("cat", pretrained_emb=str(vectors), pretrain_dim=3),
        feature("seq", "sequence", max_len=3),
        feature("num", "numeric", "float"),
    ]
    # Each split has other rows, and as many.
    rows = {k: {n: v[i:] + v[:i] for n, v in ROWS.items()} for i, k in enumerate(SPLITS)}
    frames = {split: with_labels(rows[split]) for split in SPLITS}
    return write_dataset(folder, frames, features, [label("y")], **more)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset whose cache is whole; it is copied, never changed."""
    dataset = write(tmp_path_factory.mktemp("built"))
    return dataset, open_cache(dataset)


@pytest.fixture
def dataset(built, tmp_path):
    """The dataset with a copy of its cache in a folder of the test's own."""
    shutil.copytree(built[0]["data_root"], tmp_path / "caches")
    return built[0] | {"data_root": str(tmp_path / "caches")}


@pytest.fixture
def folder(built, dataset):
    """The folder of the copied cache."""
    return Path(dataset["data_root"]) / "small" / built[1].folder.name


def check_rebuilt(dataset, built, caplog, path):
    """Open a damaged cache: it is found, named, built once, and what it was."""
    caplog.set_level(logging.INFO)
    # Another test may have set the level that a build before this one was logged at.
    caplog.clear()
    again = open_cache(dataset)
    assert_same(cached(again), cached(built[1]))
    told = [r.message for r in caplog.records if "is rebuilt" in r.message]
    assert len(told) == 1
    assert str(path) in told[0]
    assert sum(r.message.startswith("Built the cache") for r in caplog.records) == 1
    assert damages(again.folder) == []
    check_clean(again.folder)


def check_clean(folder):
    names = {path.name for path in folder.parent.iterdir()}
    assert names == {folder.name, f"{folder.name}.lock"}


def cut(raw):
    return raw[:-1]


def flip(raw):
    return raw[: len(raw) // 3] + bytes([raw[len(raw) // 3] ^ 1]) + raw[len(raw) // 3 + 1 :]


def empty(raw):
    return b""


@pytest.mark.parametrize("damage", [cut, flip, empty, None])
@pytest.mark.parametrize("name", FILES)
def test_every_file_damaged_in_turn_is_found_and_built_anew(
    dataset, folder, built, caplog, name, damage
):
    path = folder / name
    raw = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(raw))
    assert any(str(path) in text for text in damages(folder))
    check_rebuilt(dataset, built, caplog, path)


def arrays(path, rows, names):
    with store.open_file(path) as file:
        return {name: store.read(store.column(file, name), 0, rows) for name in names}


def test_a_flipped_byte_anywhere_in_an_h5_file_is_found(folder, built):
    """On opening; or when its block is read; or it fills a gap and no number depends on it."""
    path, sound = folder / "train.h5", cached(built[1])["train"]
    raw = path.read_bytes()
    found, told = {"opening": 0, "reading": 0, "gap": 0}, []
    for at in range(0, len(raw), 19):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :])
        assert len(damages(folder)) == 1, "cache verify finds it in any case"
        try:
            where = "opening"
            check(folder)
            where = "reading"
            same = arrays(path, 4, sound)
        except (whole_folder.Damaged, DataError) as error:
            told.append(str(error))
        else:
            where = "gap"
            assert_same({"train": same}, {"train": sound})
        found[where] += 1
    assert all(str(path) in text for text in told)
    assert found["opening"] > found["reading"] > 0


def test_the_file_of_another_split_is_found(dataset, folder, built, caplog):
    """Of the same size, with the same columns and rows, and sound."""
    path = folder / "train.h5"
    assert path.stat().st_size == (folder / "valid.h5").stat().st_size
    shutil.copy(folder / "valid.h5", path)
    check_rebuilt(dataset, built, caplog, path)


def test_the_manifest_of_another_cache_is_found(dataset, folder, built, caplog, tmp_path):
    other = open_cache(dataset | {"min_categr_count": 2, "data_root": str(tmp_path / "other")})
    for path in other.folder.iterdir():
        shutil.copy(path, folder)
    check_rebuilt(dataset, built, caplog, folder / "manifest.json")


def test_a_whole_cache_under_another_name_is_found(dataset, folder, built, caplog):
    renamed = dataset | {"dataset_id": "renamed"}
    away = folder.parent.with_name("renamed")
    folder.parent.rename(away)
    check_rebuilt(renamed, built, caplog, away / folder.name / "manifest.json")


def rewritten(folder, **changes):
    """Change a manifest, its digest with it, as only someone who means to would."""
    path = folder / "manifest.json"
    said = json.loads(path.read_text()) | changes
    del said["digest"]
    path.write_text(json.dumps(said | {"digest": whole_folder.digest(said)}))


OUTSIDE = {
    "a file above": {"files": {"../../secret": {}}},
    "an absolute file": {"files": {"/etc/hostname": {}}},
    "a split above": {"rows": {"../../secret": 4}},
    "files that are no mapping": {"files": ["train.h5"]},
    "columns without a shape": {"columns": {"cat": {}}},
    "rows that are no number": {"rows": {"train": "4"}},
    "shares that are no mapping": {"unknown": []},
    "remarks that are no list": {"remarks": {}},
    "a remark that is not text": {"remarks": [["a heading", "cat", 1]]},
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_a_manifest_that_leads_outside_is_not_followed(
    dataset, folder, built, caplog, what, monkeypatch
):
    rewritten(folder, **OUTSIDE[what])
    read, digest = [], whole_folder.file_digest
    monkeypatch.setattr(whole_folder, "file_digest", lambda path: read.append(path) or digest(path))
    check_rebuilt(dataset, built, caplog, folder / "manifest.json")
    assert all(path.resolve().is_relative_to(folder.parent) for path in read)


@pytest.mark.parametrize("name", ["train.h5", "feature_vocab.json", "manifest.json"])
def test_a_link_in_the_place_of_a_file_is_not_followed(
    dataset, folder, built, caplog, tmp_path, name
):
    aside = (folder / name).rename(tmp_path / "aside")
    (folder / name).symlink_to(aside)
    before = aside.read_bytes()
    check_rebuilt(dataset, built, caplog, folder / name)
    assert aside.read_bytes() == before


def external(file, path):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["cat"] = np.zeros(4, np.uint8)
    file["cat"] = h5py.ExternalLink(str(path.with_name("other.h5")), "cat")


def soft(file, path):
    file["cat"] = h5py.SoftLink("/num")


def raw_storage(file, path):
    secret = path.with_name("secret")
    secret.write_bytes(b"abcd")
    file.create_dataset("cat", (4,), np.uint8, external=[(str(secret), 0, 4)])


def virtual(file, path):
    layout = h5py.VirtualLayout((4,), np.uint8)
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "cat", (4,))
    file.create_virtual_dataset("cat", layout)


def references(file, path):
    file.create_dataset("cat", data=[file["num"].ref] * 4, dtype=h5py.ref_dtype)


def group(file, path):
    file.create_group("cat")


def text(file, path):
    file.create_dataset("cat", data=["a", "b", "c", "d"])


ELSEWHERE = [external, soft, raw_storage, virtual, references, group, text]


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_columns_from_elsewhere_are_refused(dataset, folder, built, elsewhere):
    path = folder / "train.h5"
    with h5py.File(path, "r+") as file:
        del file["cat"]
        elsewhere(file, path)
    with pytest.raises(DataError, match="column 'cat' is (not an array of numbers|.*rejected)"):
        H5Loader(built[1].feature_map({}), path)


@pytest.mark.parametrize("kind", ["link", "virtual"])
def test_pretrained_vectors_from_elsewhere_are_refused(tmp_path, kind):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["value"] = np.ones((2, 3))
    with h5py.File(tmp_path / "vectors.h5", "w") as file:
        file["key"] = np.array([b"a", b"b"])
        if kind == "link":
            file["value"] = h5py.ExternalLink(str(secret), "value")
        else:
            layout = h5py.VirtualLayout((2, 3), np.float64)
            layout[:] = h5py.VirtualSource(str(secret), "value", (2, 3))
            file.create_virtual_dataset("value", layout)
    dataset = write(tmp_path)
    dataset["feature_cols"][0]["pretrained_emb"] = str(tmp_path / "vectors.h5")
    with pytest.raises(DataError, match="'value' is .*elsewhere: rejected"):
        open_cache(dataset)


# Where a build is killed, from its beginning to the last rename.
PLACES = [
    "fuxictr_stem.data.cache.build:check_source",
    "h5py:Dataset.__setitem__",
    "fuxictr_stem.data.cache.build:write_account",
    "fuxictr_stem.runtime.whole_folder:sync",
    "pathlib:Path.rename",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_build_that_is_killed_is_begun_again(tmp_path, built, place):
    dataset = built[0] | {"data_root": str(tmp_path / "caches")}
    killed_at(place, open_cache, dataset)
    home = tmp_path / "caches" / "small"
    assert [path.suffix[:4] for path in sorted(home.iterdir())] == [".loc", ".tmp"]
    again = open_cache(dataset)
    assert_same(cached(again), cached(built[1]))
    check_clean(again.folder)


def test_a_rebuild_that_is_killed_between_two_files_is_begun_again(dataset, folder, built):
    (folder / "test.h5").unlink()
    killed_at("fuxictr_stem.data.cache.cache_folder:os.replace", open_cache, dataset)
    again = open_cache(dataset)
    assert_same(cached(again), cached(built[1]))
    check_clean(again.folder)


def build(dataset):
    """Open a cache; return its folder, its rows, and how often it was built here."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("fuxictr_stem").addHandler(handler)
    logging.getLogger("fuxictr_stem").setLevel(logging.INFO)
    cache = open_cache(dataset)
    content = {k: {n: v.tolist() for n, v in c.items()} for k, c in cached(cache).items()}
    return cache.folder, repr(content), sum(line.startswith("Built the cache") for line in lines)


@pytest.mark.parametrize("count", [2, 8])
def test_processes_at_once_build_one_cache_and_read_the_same(tmp_path, built, count):
    dataset = built[0] | {"data_root": str(tmp_path / "caches")}
    folders, contents, builds = zip(*at_once(build, [(dataset,)] * count), strict=True)
    assert sum(builds) == 1
    assert len(set(folders)) == len(set(contents)) == 1
    assert_same(cached(open_cache(dataset)), cached(built[1]))
    check_clean(folders[0])


def stall(dataset, reached):
    """Build up to the manifest, and never go on."""
    build_module.write_account = lambda *_: (reached.set(), CONTEXT.Event().wait())
    open_cache(dataset)


def test_the_death_of_a_builder_frees_those_that_wait(tmp_path, built):
    dataset = built[0] | {"data_root": str(tmp_path / "caches")}
    reached = CONTEXT.Event()
    builder = start(stall, dataset, reached)
    assert reached.wait(SECONDS)
    waiting = CONTEXT.Queue()
    others = [start(_wait, waiting, dataset) for _ in range(2)]
    for _ in others:
        assert waiting.get(timeout=SECONDS) == "begun"
    builder.kill()
    found = [waiting.get(timeout=SECONDS) for _ in others]
    assert sum(builds for _, _, builds in found) == 1
    check_clean(found[0][0])


def _wait(queue, dataset):
    queue.put("begun")
    queue.put(build(dataset))


def build_on_a_full_disk(dataset, most_bytes):
    """Build where no file can grow beyond some bytes; return the message."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        open_cache(dataset)
    except OutputError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    return "built"


@pytest.mark.parametrize("most_bytes", [10, 300, 1400, 2000])
def test_a_disk_that_gets_full_is_named_and_leaves_nothing(tmp_path, built, most_bytes):
    """A limit of the system stands for the disk; each lets another file be the first that fails."""
    sizes = [path.stat().st_size for path in built[1].folder.iterdir()]
    assert min(sizes) > 10
    assert max(sizes) > 2000
    dataset = built[0] | {"data_root": str(tmp_path / "caches")}
    told = alone(build_on_a_full_disk, dataset, most_bytes)
    assert "the cache could not be written" in told
    assert os.strerror(errno.EFBIG) in told or f"errno = {errno.EFBIG}" in told, told
    assert "Free some space" in told
    assert [path.suffix for path in (tmp_path / "caches" / "small").iterdir()] == [".lock"]
    assert_same(cached(open_cache(dataset)), cached(built[1]))


@pytest.fixture
def read_only():
    """A dataset with its cache, and what makes its folders read-only, to root as well."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        dataset = write(root)
        folder = open_cache(dataset).folder

        def enter():
            for path in [root, *root.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o644)
            if before == 0:
                # Permissions do not bind root; they bind a user who owns nothing here.
                os.seteuid(65534)

        try:
            yield dataset, folder, enter
        finally:
            os.seteuid(before)
            for path in [root, *root.rglob("*")]:
                if path.is_dir():
                    path.chmod(0o755)


def test_a_whole_cache_in_a_read_only_folder_is_used(read_only):
    dataset, folder, enter = read_only
    (folder.parent / f"{folder.name}.lock").unlink()
    enter()
    assert open_cache(dataset).folder == folder
    assert not list(folder.parent.glob("*.lock"))


def test_a_damaged_cache_in_a_read_only_folder_is_named_and_refused(read_only, caplog):
    dataset, folder, enter = read_only
    (folder / "test.h5").unlink()
    enter()
    with pytest.raises(OutputError, match="data_root: the folder .* cannot be written"):
        open_cache(dataset)
    assert str(folder / "test.h5") in caplog.text


def test_an_absent_cache_in_a_read_only_folder_is_refused(read_only, monkeypatch):
    dataset, folder, enter = read_only
    shutil.rmtree(folder)
    enter()
    monkeypatch.setattr(
        "fuxictr_stem.data.cache.open_cache.build", lambda *a, **m: pytest.fail("built")
    )
    with pytest.raises(OutputError, match="data_root: the folder .* cannot be written"):
        open_cache(dataset)

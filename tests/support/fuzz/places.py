"""Where files lie, how they are packed, and who holds them: further dimensions of inputs."""

from __future__ import annotations

from typing import Any

from tests.support.fuzz.readings import SPLITS, Draft, dimension, zipped


def _in_folder(files: dict[str, bytes], draft: Draft, split: str) -> str:
    """Have a split's files lie in a folder; return its path."""
    name = draft.dataset[f"{split}_data"]
    if name in files:
        files[f"{split}/part-0.{draft.format}"] = files.pop(name)
        draft.dataset[f"{split}_data"] = split
    return split


_BESIDE = [".part-0.{}", "._part-0.{}", "_part-0.{}", "_SUCCESS", ".part-0.{}.crc", "_metadata"]
_BESIDE += ["part-1.txt", "part-0.{}.bak", "part-0.{}.tmp", "sub/part-9.{}", "_tmp/part-9.{}"]
_BESIDE += [".ipynb_checkpoints/part-0.{}", "part-9.json", "PART-9.XYZ"]


@dimension(place=True)
def other_files(draft: Draft) -> str:
    """Other files and folders next to the parts of a split: hidden ones, other endings, subfolders."""
    rng = draft.rng
    split, name = rng.choice(SPLITS), rng.choice(_BESIDE).format(draft.format)

    def change(files: dict[str, bytes]) -> None:
        folder = _in_folder(files, draft, split)
        files[f"{folder}/{name}"] = next(c for n, c in files.items() if n.startswith(f"{folder}/"))

    draft.moves.append(change)
    return f"{name} in {split}"


@dimension(place=True)
def patterns(draft: Draft) -> str:
    """A pattern in place of a path, with files that it must not find, and some that it must."""
    rng = draft.rng
    split = rng.choice(SPLITS)
    how = rng.choice(["part-*.{}", "*.{}", "**/*.{}", "part-[0-9].{}", "part-?.{}", "nothing-*.{}"])

    def change(files: dict[str, bytes]) -> None:
        folder = _in_folder(files, draft, split)
        content = files[f"{folder}/part-0.{draft.format}"]
        for more in rng.sample([".part-7.{}", "_part-8.{}", "sub/part-9.{}", "_tmp/part-6.{}"], 2):
            files[f"{folder}/{more.format(draft.format)}"] = content
        draft.dataset[f"{split}_data"] = f"{folder}/{how.format(draft.format)}"

    draft.moves.append(change)
    return f"{how} for {split}"


@dimension("csv", place=True)
def packed(draft: Draft) -> str:
    """csv.gz, whole, cut off, or of two members."""
    rng = draft.rng
    split, how = (
        rng.choice([*SPLITS, None]),
        rng.choice(["", "", "", "cut off", "two members", "no gzip"]),
    )

    def change(files: dict[str, bytes]) -> None:
        for each in SPLITS if split is None else (split,):
            for name in [n for n in files if n.startswith(each)]:
                content = files.pop(name)
                half = len(content) // 2
                files[f"{name}.gz"] = {
                    "": zipped(content),
                    "cut off": zipped(content)[:-9],
                    "two members": zipped(content[:half]) + zipped(content[half:]),
                    "no gzip": content,
                }[how]
            if draft.dataset[f"{each}_data"].endswith(".csv"):
                draft.dataset[f"{each}_data"] += ".gz"

    draft.moves.append(change)
    return f"{split or 'all'} {how}"


@dimension("csv", place=True)
def ending_tsv(draft: Draft) -> str:
    """Files that end with .tsv, with tabs or without, sep named or not."""
    rng = draft.rng
    draft.dataset["sep"] = rng.choice(["\t", "\t", ","])
    named = rng.random() < 0.7

    def change(files: dict[str, bytes]) -> None:
        for name in list(files):
            if name.endswith(".csv"):
                files[name[:-3] + "tsv"] = files.pop(name)
        for split in SPLITS:
            path: str = draft.dataset[f"{split}_data"]
            draft.dataset[f"{split}_data"] = path.replace(".csv", ".tsv")
        if not named:
            del draft.dataset["sep"]

    draft.moves.append(change)
    return f"sep {draft.dataset['sep']!r}{'' if named else ', not named'}"


@dimension(place=True)
def partitions(draft: Draft) -> str:
    """Folders such as city=3 whose names hold a column, as Hive and Spark write them."""
    rng = draft.rng
    used, splits = rng.random() < 0.6, rng.choice([SPLITS, SPLITS, ("train",)])
    dtype = rng.choice(["int", "str"])
    if used:
        col: dict[str, Any] = {"name": "city", "dtype": dtype, "type": "categorical"}
        draft.dataset["feature_cols"].append(col)

    def change(files: dict[str, bytes]) -> None:
        for split in splits:
            folder = _in_folder(files, draft, split)
            for i, name in enumerate([n for n in files if n.startswith(f"{folder}/part-")]):
                files[f"{folder}/city={i + 3}/part.{draft.format}"] = files.pop(name)

    draft.moves.append(change)
    return f"{'used' if used else 'not used'} in {', '.join(splits)}"


@dimension()
def locks(draft: Draft) -> str:
    """Another process that holds the cache's files when it is opened again."""
    draft.lock = draft.rng.choice(
        ["train.h5", "valid.h5", "manifest.json", "shared train.h5", "shared valid.h5"]
        + ["too many files", "read only folder"]
    )
    return draft.lock

"""The files of each split.

A path of the config is a file, a folder whose parts are read in the order of their names, or a pattern in
which ``**`` stands for folders at any depth. A folder without parts of its own but with folders named
``column=value`` (as Spark and pandas partition) is read with these. Names that begin with ``.`` or ``_``
are never parts, unless the path itself writes that character.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from glob import has_magic
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import DataError, refuse, suggest

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
}
"""How the names of a format's files end."""

_MOST_NAMED = 5


def find_files(dataset: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Find the files of each split of a dataset config.

    What lies beside the parts of a folder and is not read is warned about.

    Args:
        dataset: The normalised dataset config.

    Returns:
        The files of train, valid and (where there is one) test, each in reading order.

    Raises:
        DataError: A file or part is absent, empty, no file, or there twice; all of them are named.
    """
    problems: list[str] = []
    files: dict[str, list[Path]] = {}
    endings = ENDINGS[dataset["data_format"]]
    for split in SPLITS:
        path = dataset.get(f"{split}_data")
        if path:
            try:
                files[split], found, beside = _files_of(str(path), endings)
                found += _problems(files[split], endings)
                if beside and not found:
                    _warn_of_others(f"{split}_data", str(path), len(files[split]), tuple(beside))
            except OSError as error:
                found = [f"{str(error.filename or path)!r} cannot be read: {error.strerror}."]
            problems += [f"{split}_data: {problem}" for problem in found]
        elif split != "test":
            problems.append(f"{split}_data is not set; it names the {split} file or folder.")
    for col in dataset["feature_cols"]:
        path = col.get("pretrained_emb")
        if path and col.get("active", True) and not Path(path).is_file():
            problems.append(f"pretrained_emb of column {col['name']!r}: no file {path!r}.")
    if problems:
        refuse(DataError, f"dataset {dataset['dataset_id']!r}", problems)
    return files


def _files_of(given: str, endings: tuple[str, ...]) -> tuple[list[Path], list[str], list[Path]]:
    """Return the files that a path means, what is wrong with it, and what lies beside parts."""
    path = Path(given)
    # Not of Path: it raises where a link leads to itself.
    if os.path.isfile(path):
        if given.endswith(endings):
            return [path], [], []
        ends = f"does not end with {_either(endings)}"
        return [], [f"{given!r} is a file that {ends} (data_format: {endings[0][1:]})."], []
    if os.path.isdir(path):
        parts, beside = _in_folder(path, endings)
        return parts, [] if parts else [_without_parts(given, endings)], beside
    last = [] if given.endswith(endings) else [f"*{ending}" for ending in endings]
    start, names = Path(path.anchor), path.parts[1 if path.anchor else 0 :]
    patterns = [[*names, name] for name in last] or [list(names)]
    # Patterns with ** can come to one name in several ways.
    found = sorted({p for names in patterns for p in _matches(start, names)}, key=str)
    folders = [p for p in found if os.path.isdir(p)]
    parts = [p for p in found if p not in folders]
    # Of a folder that ** has looked into, the parts are there.
    missed = [folder for folder in folders if not any(folder in p.parents for p in parts)]
    problems = [f"{given!r} fits the folder {str(f)!r}, which is no file." for f in missed]
    return parts, problems if found else [_nothing_there(given, endings)], []


def _in_folder(folder: Path, endings: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """Return the parts of a folder, and what else of it is not hidden."""
    inside = sorted((folder / name for name in os.listdir(folder) if not _hidden(name)), key=str)
    folders = [path for path in inside if os.path.isdir(path)]
    parts = [path for path in inside if path.name.endswith(endings) and path not in folders]
    partitions = [] if parts else [path for path in folders if "=" in path.name]
    beside = [path for path in inside if path not in parts and path not in partitions]
    for partition in partitions:
        more, others = _in_folder(partition, endings)
        parts += more
        beside += others
    return sorted(parts, key=str), beside


def _matches(folder: Path, names: Sequence[str], above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield what fits a pattern below a folder; unlike `glob.glob`, pass over nothing unreadable.

    Args:
        folder: The folder.
        names: The pattern, name by name.
        above: The folders, without links, in which ``**`` has brought us here.
    """
    name, *rest = names
    if name == "**":
        place = os.path.realpath(folder)
        yield from _matches(folder, rest or ["*"])
        for inside in sorted(os.listdir(folder)):
            path = folder / inside
            # A link may lead back to a folder above.
            back = os.path.realpath(path) in (*above, place)
            if not _hidden(inside) and os.path.isdir(path) and not back:
                yield from _matches(path, names, (*above, place))
        return
    if not has_magic(name) or os.path.lexists(folder / name):
        found = [folder / name] if os.path.lexists(folder / name) else []
    else:
        fitting = [n for n in sorted(os.listdir(folder)) if fnmatchcase(n, name)]
        found = [folder / n for n in fitting if not _hidden(n) or n[0] == name[0]]
    for path in found:
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _matches(path, rest)


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _problems(parts: Sequence[Path], endings: tuple[str, ...]) -> list[str]:
    """Return what is wrong with files that are there by name."""
    problems = []
    first_of = {e: str(part) for e in endings for part in reversed(parts) if str(part).endswith(e)}
    if len(first_of) > 1:
        problems.append(
            f"{' and '.join(map(repr, first_of.values()))} end differently: the same rows may be in "
            f"both. Keep files of one ending, or write a pattern such as *{next(iter(first_of))}."
        )
    seen: dict[tuple[int, int], Path] = {}
    for part in parts:
        found = part.stat()
        if not stat.S_ISREG(found.st_mode):
            problems.append(f"{str(part)!r} is no regular file.")
        elif not found.st_size:
            problems.append(f"{str(part)!r} is empty (0 bytes).")
        first = seen.setdefault((found.st_dev, found.st_ino), part)
        if first is not part:
            problems.append(
                f"{str(first)!r} and {str(part)!r} are one file: each of its rows would be read "
                "twice. Remove one of the two names."
            )
    return problems


def _without_parts(given: str, endings: tuple[str, ...]) -> str:
    text = (
        f"folder {given!r} has no parts: looked for {os.path.realpath(given)}/*{_either(endings)}."
    )
    deeper = [path for e in endings for path in _matches(Path(given), ["**", f"*{e}"])]
    hidden = [n for n in sorted(os.listdir(given)) if _hidden(n) and n.endswith(endings)]
    if deeper:
        ending = next(e for e in endings if deeper[0].name.endswith(e))
        pattern = os.path.join(given, "**", f"*{ending}")
        text += f" Folders in it have some, such as {str(deeper[0])!r}: to read those, write {pattern!r}."
    elif hidden:
        text += f" Names that begin with '.' or '_', such as {hidden[0]!r}, are not read."
    return text


def _nothing_there(given: str, endings: tuple[str, ...]) -> str:
    path = Path(given)
    if os.path.exists(path):
        return f"{given!r} is neither a file nor a folder."
    if has_magic(given):
        return (
            f"no file fits {given!r} and ends with {_either(endings)}. Names that begin with '.' or '_' "
            "are not read unless the pattern writes that character."
        )
    is_file = given.endswith(endings)
    what = "file" if is_file else f"folder of *{_either(endings)} parts"
    near = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    missing = f"{given!r} does not exist (looked for the {what} {os.path.realpath(path)})."
    return missing + suggest(path.name, near)


def _either(endings: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(endings[:-1]), endings[-1])))


@cache
def _warn_of_others(key: str, folder: str, parts: int, others: tuple[Path, ...]) -> None:
    """Warn, once in a process, of what lies beside the parts of a folder."""
    named = [f"{str(p)!r}" + (" (a folder)" if os.path.isdir(p) else "") for p in others]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    logger.warning(
        "%s: %d %s of folder %r %s read, and beside them are not read: %s. Move them away; or, if they "
        "belong to the split, write a pattern that fits all of its files.",
        key,
        parts,
        "part" if parts == 1 else "parts",
        folder,
        "is" if parts == 1 else "are",
        ", ".join([*named[:_MOST_NAMED], *more]),
    )

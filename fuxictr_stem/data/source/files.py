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

from fuxictr_stem.errors import DataError, raise_all, suggest
from fuxictr_stem.runtime.text_table import amount

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
}
"""How the names of a format's files end."""

Endings = tuple[str, ...]

_MOST_NAMED = 5


def find_files(dataset: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Find the files of each split of a dataset config, and warn of what else is in their folders.

    Returns the files of train, valid and (where there is one) test, each in reading order.

    Raises:
        DataError: A file or part is absent, empty, no file, or there twice; all of them are named.
    """
    problems: list[str] = []
    files: dict[str, list[Path]] = {}
    endings = ENDINGS[dataset["data_format"]]
    for split in SPLITS:
        path = dataset.get(f"{split}_data")
        if path:
            files[split], split_problems = _checked_files(f"{split}_data", str(path), endings)
            problems += [f"{split}_data: {problem}" for problem in split_problems]
        elif split != "test":
            problems.append(f"{split}_data is not set; it names the {split} file or folder.")
    for col in dataset["feature_cols"]:
        path = col.get("pretrained_emb")
        if path and col.get("active", True) and not Path(path).is_file():
            problems.append(f"pretrained_emb of column {col['name']!r}: no file {path!r}.")
    heading = f"dataset {dataset['dataset_id']!r}" if dataset["dataset_id"] else "files"
    raise_all(DataError, heading, problems)
    return files


def file_format(paths: Sequence[Path]) -> str:
    """Return the format of files by how their names end.

    Raises:
        DataError: There are none, or they end differently.
    """
    formats = {f: [p for p in paths if p.name.endswith(e)] for f, e in ENDINGS.items()}
    fitting = [data_format for data_format, fit in formats.items() if len(fit) == len(paths)]
    if not paths or not fitting:
        names = ", ".join(map(str, paths[:_MOST_NAMED]))
        either = " or ".join(_either(endings) for endings in ENDINGS.values())
        raise DataError(f"{names or 'no files'}: the names of files must all end with {either}.")
    return fitting[0]


def input_files(names: Sequence[str | Path]) -> list[Path]:
    """Find files of rows to score, of any format that training reads.

    The names are those of files, folders of parts and patterns, in reading order.

    Raises:
        DataError: As `find_files`.
    """
    endings = tuple(ending for some in ENDINGS.values() for ending in some)
    problems: list[str] = []
    files: list[Path] = []
    for name in names:
        some, name_problems = _checked_files("data", str(name), endings)
        files += some
        problems += name_problems
    # Two names may mean one file.
    raise_all(DataError, "data", problems or _problems(files, endings))
    if not files:
        raise DataError("data: names no file. Give a file, a folder or a pattern.")
    return files


def _checked_files(key: str, name: str, endings: Endings) -> tuple[list[Path], list[str]]:
    """Return the files that a name means and what is wrong with them; warn of others in their folder."""
    try:
        files, problems, others = _files_of(name, endings)
        problems += _problems(files, endings)
    except OSError as error:
        return [], [f"{str(error.filename or name)!r} cannot be read: {error.strerror}."]
    if others and not problems:
        _warn_of_others(key, name, len(files), tuple(others))
    return files, problems


def _files_of(name: str, endings: Endings) -> tuple[list[Path], list[str], list[Path]]:
    """Return the files that a name means, what is wrong with it, and what else is in a folder of parts."""
    path = Path(name)
    # Not of Path: it raises where a link leads to itself.
    if os.path.isfile(path):
        if name.endswith(endings):
            return [path], [], []
        ends = f"does not end with {_either(endings)}"
        formats = [name for name, some in ENDINGS.items() if some == endings]
        because = f" (data_format: {formats[0]})" if formats else ""
        return [], [f"{name!r} is a file that {ends}{because}."], []
    if os.path.isdir(path):
        parts, others = _in_folder(path, endings)
        return parts, [] if parts else [_without_parts(name, endings)], others
    last = [] if name.endswith(endings) else [f"*{ending}" for ending in endings]
    start, names = Path(path.anchor), path.parts[1 if path.anchor else 0 :]
    patterns = [[*names, ending] for ending in last] or [list(names)]
    # Patterns with ** can come to one name in several ways.
    paths = sorted({p for pattern in patterns for p in _matches(start, pattern)}, key=str)
    folders = [p for p in paths if os.path.isdir(p)]
    parts = [p for p in paths if p not in folders]
    # Of a folder that ** has looked into, the parts are there.
    missed = [folder for folder in folders if not any(folder in p.parents for p in parts)]
    problems = [f"{name!r} matches the folder {str(f)!r}, which is not a file." for f in missed]
    return parts, problems if paths else [_nothing_there(name, endings)], []


def _in_folder(folder: Path, endings: Endings) -> tuple[list[Path], list[Path]]:
    """Return the parts of a folder, and what else of it is not hidden."""
    inside = sorted((folder / name for name in os.listdir(folder) if not _hidden(name)), key=str)
    folders = [path for path in inside if os.path.isdir(path)]
    parts = [path for path in inside if path.name.endswith(endings) and path not in folders]
    partitions = [] if parts else [path for path in folders if "=" in path.name]
    others = [path for path in inside if path not in parts and path not in partitions]
    for partition in partitions:
        more_parts, more_others = _in_folder(partition, endings)
        parts += more_parts
        others += more_others
    return sorted(parts, key=str), others


def _matches(folder: Path, names: Sequence[str], above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield what fits a pattern below a folder; unlike `glob.glob`, pass over nothing unreadable."""
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
        paths = [folder / name] if os.path.lexists(folder / name) else []
    else:
        fitting = [n for n in sorted(os.listdir(folder)) if fnmatchcase(n, name)]
        paths = [folder / n for n in fitting if not _hidden(n) or n[0] == name[0]]
    for path in paths:
        if not rest:
            yield path
        elif os.path.isdir(path):
            yield from _matches(path, rest)


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _problems(parts: Sequence[Path], endings: Endings) -> Iterator[str]:
    """Yield what is wrong with files that are there by name."""
    first_of = {e: str(part) for e in endings for part in reversed(parts) if str(part).endswith(e)}
    if len(first_of) > 1:
        yield (
            f"{' and '.join(map(repr, first_of.values()))} have different endings, so the same rows may "
            f"be in both. Keep only one kind of file, or write a pattern such as *{next(iter(first_of))}."
        )
    seen: dict[tuple[int, int], Path] = {}
    for part in parts:
        status = part.stat()
        if not stat.S_ISREG(status.st_mode):
            yield f"{str(part)!r} is no regular file."
        elif not status.st_size:
            yield f"{str(part)!r} is empty (0 bytes)."
        first = seen.setdefault((status.st_dev, status.st_ino), part)
        if first is not part:
            yield (
                f"{str(first)!r} and {str(part)!r} are one file: each of its rows would be read "
                "twice. Remove one of the two names."
            )


def _without_parts(name: str, endings: Endings) -> str:
    text = f"folder {name!r} has no parts: looked for {os.path.realpath(name)}/*{_either(endings)}."
    deeper = [path for e in endings for path in _matches(Path(name), ["**", f"*{e}"])]
    hidden = [n for n in sorted(os.listdir(name)) if _hidden(n) and n.endswith(endings)]
    if deeper:
        ending = next(e for e in endings if deeper[0].name.endswith(e))
        pattern = os.path.join(name, "**", f"*{ending}")
        text += f" Folders in it have some, such as {str(deeper[0])!r}: to read those, write {pattern!r}."
    elif hidden:
        text += f" Names that begin with '.' or '_', such as {hidden[0]!r}, are not read."
    return text


def _nothing_there(name: str, endings: Endings) -> str:
    path = Path(name)
    if os.path.exists(path):
        return f"{name!r} is neither a file nor a folder."
    if has_magic(name):
        return (
            f"no file matches {name!r} and ends with {_either(endings)}. Names that begin with '.' "
            "or '_' are not read unless the pattern writes that character."
        )
    what = "file" if name.endswith(endings) else f"folder of *{_either(endings)} parts"
    near = os.listdir(path.parent) if os.path.isdir(path.parent) else []
    missing = f"{name!r} does not exist (looked for the {what} {os.path.realpath(path)})."
    return missing + suggest(path.name, near)


def _either(endings: Endings) -> str:
    return " or ".join(filter(None, (", ".join(endings[:-1]), endings[-1])))


@cache
def _warn_of_others(key: str, folder: str, parts: int, others: tuple[Path, ...]) -> None:
    """Warn, once in a process, of what else is in a folder of parts."""
    named = [f"{str(p)!r}" + (" (a folder)" if os.path.isdir(p) else "") for p in others]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    logger.warning(
        "%s: %s of folder %r %s read; not read are %s. Move them away; or, if they belong to the "
        "split, write a pattern that matches all of its files.",
        key,
        amount(parts, "part"),
        folder,
        "is" if parts == 1 else "are",
        ", ".join([*named[:_MOST_NAMED], *more]),
    )

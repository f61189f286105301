"""The configs of a new project: ids for STEM-Net, a shared bottom and the single tasks, and a benchmark."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.errors import ConfigError, DataError, OutputError, first_line, raise_all, suggest
from fuxictr_stem.frames import config_files, training_rows
from fuxictr_stem.frames.guess_columns import Guess, Guesses, column_summary, guess_columns
from fuxictr_stem.metrics.task_metrics import BINARY, REGRESSION
from fuxictr_stem.runtime.outputs import check_new_folder
from fuxictr_stem.runtime.whole_folder import fresh_folder, put_in_place
from fuxictr_stem.starter.check_project import check_project
from fuxictr_stem.starter.findings import Findings, look_at
from fuxictr_stem.starter.read_logs import Logs, read_logs, with_numbers
from fuxictr_stem.starter.split_rows import SHARES, by_chance, by_time, write_splits

_USERS = re.compile(r"^(user|uid|member|customer|visitor|account)(_?id)?$", re.IGNORECASE)
_MODELS = ("STEMNet", "SharedBottom")
_CHECKPOINTS = Path("checkpoints")
# With fewer rows than the first number, how often a value must be there to get a vector of its own.
_LEAST_COUNTS = ((20_000, 1), (500_000, 2))
_OFTEN = 10
_MOST_NAMED = 20
_LONGEST_LABEL = 60
_ABOUT = {
    "min_categr_count": "rarer values count as unknown",
    "sep": "separates two fields, as in the file",
    "null_values": "texts that mean a missing value",
    "group_id": "gAUC is the mean AUC within the values of this column",
}


def init_project(
    data: Sequence[str],
    labels: Sequence[str],
    time: str | None,
    group: str | None,
    sep: str | None,
    out: Path,
) -> list[str]:
    """Write splits and configs for files of rows into a new folder; return what was guessed, line by line.

    ``time`` is the column by which the rows are split, ``group`` the one whose values group rows for gAUC;
    None takes one that is called as users are. ``sep`` is as for `read_logs`.

    Raises:
        UserError: The rows or an argument are not as they must be; nothing is written.
    """
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    check_new_folder(out, "--out")
    try:
        with fresh_folder(out) as scratch, fresh_folder(out) as fresh:
            logs = read_logs(data, sep, scratch)
            columns = logs.columns
            _check_columns(columns, labels, time, group)
            taken = {*labels, time}
            group = group or next((n for n in columns if _USERS.match(n) and n not in taken), None)
            logs = with_numbers(logs, labels)
            looked = look_at(logs, [name for name in columns if name not in taken], labels)
            splits = by_chance(logs) if time is None else by_time(logs, time)
            (fresh / "data").mkdir()
            write_splits(logs, splits, fresh / "data")
            lines = _Project(out, logs, labels, time, group, looked).write(fresh)
            check_project(fresh, out)
            put_in_place(fresh, out)
            return lines
    except (OSError, pl.exceptions.PolarsError) as error:
        text = first_line(error)
        # This is how polars reports an error of the system.
        if isinstance(error, OSError) or "(os error" in text:
            raise OutputError(f"--out {out} cannot be written: {text}.") from error
        raise DataError(f"--data: the rows cannot be read: {text}.") from error
    finally:
        # Folders that were made in vain; rmdir keeps those that are not empty.
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def _check_columns(
    columns: Sequence[str], labels: Sequence[str], time: str | None, group: str | None
) -> None:
    hint = " If these are several columns, name their separator by --sep." * (len(columns) == 1)
    there = f" There are: {', '.join(columns[:_MOST_NAMED])}.{hint}"
    named = [*(("--labels", name) for name in labels), ("--time", time), ("--group", group)]
    problems = [
        f"{option}: there is no column {name!r}.{suggest(name, columns) or there}"
        for option, name in named
        if name is not None and name not in columns
    ]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    problems += [f"--labels: names {name!r} twice." for name in twice]
    problems += [f"--time: {time!r} is a label, too."] if time in labels else []
    problems += [f"--group: {group!r} is a label, too."] if group in labels else []
    if not labels:
        problems.append("--labels: must name a column.")
    raise_all(ConfigError, "init", problems)


@dataclass(frozen=True)
class _Project:
    """What the configs are written from."""

    out: Path
    logs: Logs
    labels: Sequence[str]
    time: str | None
    group: str | None
    looked: Findings

    @property
    def name(self) -> str:
        """The dataset's id, and a part of each experiment's."""
        return config_files.as_id(self.out.resolve().name) or "logs"

    def write(self, fresh: Path) -> list[str]:
        """Write the configs into a folder that has the splits; return what to say."""
        least = next((count for most, count in _LEAST_COUNTS if self.logs.rows < most), _OFTEN)
        settings: dict[str, Any] = {"min_categr_count": least}
        settings |= {"sep": self.logs.sep} if self.logs.sep != "," else {}
        settings |= {"null_values": self.looked.null_values} if self.looked.null_values else {}
        names = {split: f"data/{split}.{self.logs.data_format}" for split in SHARES}
        files = {split: fresh / name for split, name in names.items()}
        text = pl.String()
        types = {name: self.looked.types.get(name, text) for name in self.logs.columns}
        splits = training_rows.of_files(files, settings, types)
        guesses = self._guess(splits)
        grouped = self._has_mixed_groups(splits)
        rows = {split: splits.count(split) for split in SHARES}
        paths = {split: str(self.out / name) for split, name in names.items()}
        self._write_dataset(fresh, paths, settings, guesses)
        self._write_experiments(fresh, rows["train"], grouped)
        self._write_benchmark(fresh)
        return [*map(config_files.one_line, self._summary(rows, guesses, grouped)), *self._next()]

    def _has_mixed_groups(self, splits: training_rows.Splits) -> bool:
        """Say whether each binary label has both classes in some group of valid and test, as gAUC needs."""
        if self.group is None:
            return False
        labels = [label for label in self.labels if label not in self.looked.regression]
        values = [pl.col(label).cast(pl.Float64) for label in labels]
        mixed = [(value.min() < value.max()).fill_null(False) for value in values]
        for split in ("valid", "test"):
            groups = (
                splits.frames[split].group_by(self.group).agg(mixed).select(pl.col(labels).any())
            )
            if not all(groups.collect(engine="streaming").row(0)):
                return False
        return bool(labels)

    def _guess(self, splits: training_rows.Splits) -> Guesses:
        no_features = {*self.labels, self.time, *self.looked.left_out}
        features = [name for name in self.logs.columns if name not in no_features]
        filled = splits.frames["train"].select(pl.col(features).count()).collect(engine="streaming")
        late = {name for name in features if not filled[name].item()}
        self.looked.left_out.update(dict.fromkeys(sorted(late), "it has no value in train"))
        features = [name for name in features if name not in late]
        if not features:
            raise ConfigError("init: no column is left to learn from.")
        wishes = {name: self.looked.wishes.get(name, (None, "")) for name in features}
        types = {name: wish for name, (wish, _) in wishes.items()}
        guesses = guess_columns(splits, types, dict.fromkeys(self.labels), self.group)
        raise_all(DataError, "init", guesses.problems)
        explained = [
            guess._replace(why=wishes.get(guess.entry["name"], (None, ""))[1] or guess.why)
            for guess in guesses.features
        ]
        nested = [
            guess._replace(why="; ".join(filter(None, [guess.why, self._nesting(guess)])))
            for guess in guesses.labels
        ]
        return guesses._replace(features=explained, labels=nested)

    def _nesting(self, label: Guess) -> str:
        name = label.entry["name"]
        if name in self.looked.regression:
            return "a regression: it holds numbers other than 0 and 1"
        parent = self.looked.nested.get(name)
        if parent is None:
            return ""
        return f"1 only where {parent} is: `parent: {parent}` checks that; ESMM needs it"

    def _write_dataset(
        self, folder: Path, paths: Mapping[str, str], settings: Mapping[str, Any], guesses: Guesses
    ) -> None:
        keys = config_files.dataset_keys(
            self.out / "cache", self.logs.data_format, paths, self.group, settings
        )
        keys = [(key, value, _ABOUT.get(key, comment)) for key, value, comment in keys]
        head = [
            "# Guessed by `fuxictr_stem init`. Read it, and change what is wrong. A whole number that is",
            "# an amount: {type: numeric, dtype: float, normalizer: StandardScaler}. What else there is:",
            "#     python -m fuxictr_stem keys feature label dataset",
        ]
        if self.time is not None:
            head.append(
                f"# {self.time} is not a feature: the rows are split by it, and tomorrow's values are new."
            )
        head += [f"# {name} is not a feature: {why}." for name, why in self.looked.left_out.items()]
        path = folder / config_files.CONFIGS[1]
        config_files.write_dataset(path, head, self.name, keys, guesses)

    def _write_experiments(self, folder: Path, rows: int, grouped: bool) -> None:
        kinds = {
            label: REGRESSION if label in self.looked.regression else BINARY
            for label in self.labels
        }

        def keys(model: str, labels: Sequence[str]) -> config_files.Comments:
            tasks = [kinds[label] for label in labels]
            task = tasks[0] if len(set(tasks)) == 1 else tasks
            settings = {} if task == BINARY else {"task": task}
            return config_files.experiment_keys(
                model, self.name, _CHECKPOINTS, labels, settings, rows, grouped
            )

        ids = {f"{model}_{self.name}": keys(model, self.labels) for model in _MODELS}
        for number, label in enumerate(self.labels if len(self.labels) > 1 else [], 1):
            expid = (
                f"SingleTask_{self.name}_{re.sub('[^A-Za-z0-9_-]+', '_', label)[:_LONGEST_LABEL]}"
            )
            # Two names may differ in other characters alone.
            expid += f"_{number}" * (expid in ids)
            ids[expid] = keys("SharedBottom", [label])
        head = [
            "# Written by `fuxictr_stem init`: small networks, minutes on a laptop. With many rows make",
            "# them wider, and tune learning_rate. Every key: python -m fuxictr_stem keys experiment model",
        ]
        config_files.write_experiments(folder / "model_config.yaml", head, ids)

    def _write_benchmark(self, folder: Path) -> None:
        file = Path("benchmark") / f"{self.name}.yaml"
        command = f"benchmark --config {shlex.quote(str(self.out / file))} --out out/{self.name}"
        single = f'single_task: "SingleTask_{self.name}_*"   # what a task reaches on its own'
        lines = [
            config_files.one_line(f"# python -m fuxictr_stem {command} --jobs 2"),
            f"dataset_id: {config_files.inline(self.name)}",
            'experiments: "*"',
            *([single] if len(self.labels) > 1 else []),
            f"proposed: STEMNet_{self.name}   # the model under test",
            "seeds: [1, 2, 3]",
            "search: {learning_rate: [2.e-3, 1.e-3, 5.e-4]}   # the same for every model",
        ]
        (folder / "benchmark").mkdir()
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _summary(self, rows: Mapping[str, int], guesses: Guesses, grouped: bool) -> Iterator[str]:
        how = f"by {self.time}" if self.time else "at random; --time COLUMN splits by time"
        yield f"Rows: {', '.join(f'{split} {count:,}' for split, count in rows.items())} ({how})."
        if self.logs.sep != ",":
            yield f"  separator: {self.logs.sep!r}"
        yield from column_summary(guesses)
        for name, (wish, why) in self.looked.wishes.items():
            if wish is None and name not in self.looked.left_out:
                yield f"  {name}: {why}"
        for name, why in self.looked.left_out.items():
            yield f"  left out: {name or repr(name)}: {why}"
        if self.group is not None and not grouped:
            yield f"  no gAUC: in valid or test, no group of {self.group} has rows of both classes"

    def _next(self) -> Iterator[str]:
        yield f"Wrote model_config.yaml, dataset_config.yaml, benchmark and data into {self.out}."
        yield "Read dataset_config.yaml, then:"
        config = shlex.quote(str(self.out))
        yield f"    python -m fuxictr_stem run --config {config} --expid SharedBottom_{self.name}"

"""Config files as FuxiCTR lays them out, read safely: which file says what about which id.

``model_config.yaml`` or ``model_config/*.yaml`` hold a mapping per experiment id and the shared
``Base``; ``dataset_config.yaml`` or ``dataset_config/*.yaml`` a mapping per dataset id.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fuxictr_stem.errors import ConfigError, short, suggest

BASE = "Base"
# Ids become file names, so they hold no path.
_ID = re.compile(r"[A-Za-z0-9](?!.*\.\.)[A-Za-z0-9_.-]{0,199}")
_MOST_NAMES = 20
_LISTING = " All of them: fuxictr_stem list."
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"
# The most values of a file, each counted as often as aliases and merges repeat it.
_MOST_VALUES = 100_000


_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class Section(NamedTuple):
    """One top-level mapping of a config file."""

    file: Path
    name: str
    settings: dict[Any, Any]

    def place(self, key: object) -> str:
        """Return the place of a key of the section, for a message."""
        return f"{self.file}, {self.name}.{key}"


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _identity(key: yaml.Node) -> object:
    """Return what makes a key the same as another one; keys that are no scalars never are."""
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


class _Loader(yaml.SafeLoader):
    """Plain YAML without repeated keys; dates stay text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    # How many keys were merged in this file so far.
    _merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, rejecting a key that appears twice in it."""
        node = super().compose_mapping_node(anchor)
        seen: set[object] = set()
        for key, _ in node.value:
            if _identity(key) in seen:
                raise _error(f"the key {key.value!r} appears twice in one mapping; keep one", key)
            seen.add(_identity(key))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what ``<<`` names into a mapping: its own keys win, then those of the first one named.

        That is YAML's rule (https://yaml.org/type/merge.html). PyYAML's own method repeats the keys of
        an anchor that is merged twice, and from 6.0.4 on the last mapping of a list wins.
        """
        merges = [value for key, value in node.value if key.tag == _MERGE]
        if not merges:
            # Without a merge there is no more to do than PyYAML does.
            super().flatten_mapping(node)
            return
        # At once: an anchor may merge itself.
        node.value = [pair for pair in node.value if pair[0].tag != _MERGE]
        inherited: dict[object, tuple[yaml.Node, yaml.Node]] = {}
        for value in merges:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise _error("<< must name a mapping, or a list of mappings", source)
                self.flatten_mapping(source)
                self._merged += len(source.value)
                if self._merged > _MOST_VALUES:
                    raise _error(f"merged keys make more than {_MOST_VALUES:,} values", node)
                for pair in source.value:
                    inherited.setdefault(_identity(pair[0]), pair)
        for key, _ in node.value:
            inherited.pop(_identity(key), None)
        node.value = [*inherited.values(), *node.value]
        super().flatten_mapping(node)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Construct text; characters that no file can hold, or that end a path, are rejected."""
        text = super().construct_scalar(node)
        if isinstance(text, str) and _UNWRITABLE.search(text):
            raise _error("the text holds a NUL or half a character (a surrogate)", node)
        return text

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; what a YAML type cannot read is an error at its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            raise _error(f"the value is not what its form or tag says ({error})", node) from None


def config_files(config_dir: str | Path, kind: str) -> list[Path]:
    """Return the files of ``model_config`` or ``dataset_config``, sorted."""
    folder = Path(config_dir)
    try:
        os.listdir(folder)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        what = "is not there" if absent else f"cannot be read: {error.strerror}"
        raise ConfigError(
            f"The config folder {str(folder)!r} {what}. Name the folder that holds model_config and "
            f"dataset_config by --config (of a benchmark: --config-dir)."
        ) from None
    single = folder / f"{kind}.yaml"
    files = [single] if os.path.isfile(single) else sorted((folder / kind).glob("*.yaml"))
    if not files:
        raise ConfigError(
            f"The config folder {str(folder)!r} has neither {kind}.yaml nor {kind}/*.yaml. Add one, "
            f"or name another folder by --config (of a benchmark: --config-dir)."
        )
    return files


def read_mapping(file: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds, empty for an empty file, or raise a ConfigError."""
    if os.path.exists(file) and not os.path.isfile(file):
        raise ConfigError(f"{file} is no plain file.")
    try:
        with file.open(encoding="utf-8") as stream:
            # A SafeLoader by inheritance.
            content = yaml.load(stream, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        is_tag = "constructor for the tag" in (error.problem or "")
        hint = " Write plain values; tags such as !!python are not read." if is_tag else ""
        raise ConfigError(f"{file}{line}: {error.problem or error.context}.{hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML in UTF-8: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file} is nested too deeply to be a config.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from None
    if content is None:
        return {}
    if _values_in(content, {}) > _MOST_VALUES:
        raise ConfigError(
            f"{file} holds more than {_MOST_VALUES:,} values, each counted as often as aliases repeat "
            f"it. Make it smaller, or split it into several files."
        )
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file} must hold a mapping of names to settings, such as 'my_id: {{...}}'."
        )
    for name in content:
        if not isinstance(name, str):
            raise ConfigError(f"{file}: the name {name!r} must be text. Write it in quotes.")
    return content


def _values_in(value: Any, counts: dict[int, int]) -> int:
    """Count a value and all in it, as often as they are repeated; what holds itself counts once."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in counts:
        counts[id(value)] = 0
        inner = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_values_in(item, counts) for item in inner)
    return counts[id(value)]


def read_sections(file: Path) -> list[Section]:
    """Return the top-level mappings of a config file; errors as of `read_mapping`."""
    return [Section(file, name, settings) for name, settings in read_mapping(file).items()]


def all_sections(config_dir: str | Path, kind: str) -> list[Section]:
    """Return the top-level mappings of all files of a kind; errors as of `read_mapping`."""
    return [s for file in config_files(config_dir, kind) for s in read_sections(file)]


def ids(sections: list[Section]) -> list[str]:
    """Return the ids that can be asked for, sorted; `Base` is not one."""
    return sorted({s.name for s in sections if s.name != BASE and _ID.fullmatch(s.name)})


def check_id(what: str, name: object) -> str:
    """Return an experiment or dataset id, or raise a ConfigError if it could not name a file."""
    if not isinstance(name, str) or not _ID.fullmatch(name) or name == BASE:
        raise ConfigError(
            f"{what} must be letters, digits, '_', '-' and single dots, beginning with a letter or "
            f"digit, at most 200, and not {BASE!r}; found {short(name)}. Rename it: it becomes part "
            f"of file names."
        )
    return name


def find_section(sections: list[Section], what: str, name: str, config_dir: str | Path) -> Section:
    """Return the section of an id, a mapping in one file; anything else is a ConfigError."""
    of_name = [section for section in sections if section.name == name]
    if not of_name:
        names = ids(sections)
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        raise ConfigError(
            f"{what} {name!r} is not in {str(config_dir)!r}.{suggest(name, names)} There are: "
            f"{', '.join(names[:_MOST_NAMES]) or 'none'}{more}."
            f"{_LISTING if what == 'expid' else ''}"
        )
    if len(of_name) > 1:
        files = " and ".join(str(section.file) for section in of_name)
        raise ConfigError(f"{what} {name!r} is in {files}. Keep one, or rename the other.")
    if not isinstance(of_name[0].settings, dict):
        raise ConfigError(f"{of_name[0].file}: {what} {name!r} must be a mapping of settings.")
    return of_name[0]


def find_base(sections: list[Section], experiment: Section) -> Section | None:
    """Return the `Base` of an experiment: that of its file, else the only one there is."""
    bases = [section for section in sections if section.name == BASE]
    chosen = [section for section in bases if section.file == experiment.file] or bases
    for base in chosen:
        if not isinstance(base.settings, dict):
            raise ConfigError(f"{base.file}: {BASE} must be a mapping of settings.")
    if any(base.settings != chosen[0].settings for base in chosen):
        raise ConfigError(
            f"{experiment.file} has no {BASE} of its own, and those of "
            f"{' and '.join(str(base.file) for base in chosen)} differ. Add a {BASE} to {experiment.file}."
        )
    return chosen[0] if chosen else None

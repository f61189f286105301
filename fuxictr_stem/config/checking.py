"""Checking mappings against tables of keys, and collecting all problems for one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from fuxictr_stem.config.kinds import Kind, Refused
from fuxictr_stem.config.schema import ABSENT, REFUSED, RENAMED, REQUIRED, Key
from fuxictr_stem.errors import ConfigError, Problem, short, suggest

# Says where a key stands, for a message.
Place = Callable[[object], str]


class ProblemsError(ConfigError):
    """A configuration with problems.

    Args:
        text: For people.
        entries: Where each problem stands, and what it is.
    """

    def __init__(self, text: str, entries: Sequence[tuple[str, str]]) -> None:
        super().__init__(text)
        self.entries = entries


class Problems:
    """All that is wrong with a config, to be said at once."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    @property
    def lines(self) -> list[str]:
        """One line for each problem and place."""
        return [f"{place}: {text}" for place, text in self.entries]

    def add(self, place: str, text: str, hint: str = "") -> None:
        """Note a problem: where it stands, the rule with the value found, the next step."""
        self.entries.append((place, f"{text} {hint.strip()}".rstrip()))

    def add_all(self, place: Place, problems: Iterable[Problem]) -> bool:
        """Note what implementers of rules yield; return whether it was anything."""
        before = len(self.entries)
        for key, text, hint in problems:
            self.add(place(key), text, hint)
        return len(self.entries) > before

    def add_error(self, place: str, error: ConfigError) -> None:
        """Note what an error says, problem by problem where it lists several."""
        if isinstance(error, ProblemsError):
            self.entries += error.entries
        else:
            self.add(place, str(error))

    def raise_any(self, subject: str) -> None:
        """Raise one error that lists every problem, if there is any.

        A problem with one text in several places, as a shared YAML anchor makes it, is listed once.

        Raises:
            ProblemsError: If a problem was noted.
        """
        places: dict[str, dict[str, None]] = {}
        for place, text in self.entries:
            places.setdefault(text, {})[place] = None
        if places:
            count = "1 problem" if len(places) == 1 else f"{len(places)} problems"
            listed = "\n".join(f"- {_places(list(at))}: {text}" for text, at in places.items())
            raise ProblemsError(f"{subject}: {count} in the configuration.\n{listed}", self.entries)


def _places(places: list[str]) -> str:
    if len(places) < 3:
        return " and ".join(places)
    return f"{places[0]} and {len(places) - 1} more places ({places[1]}, ..., {places[-1]})"


def read_value(kind: Kind, value: Any, place: str, problems: Problems) -> Any:
    """Return a normalised value, or `ABSENT` after noting why it is refused."""
    try:
        return kind.read(value)
    except Refused as refused:
        problems.add(place, f"must be {kind.rule}, found {short(value)}.", str(refused))
    except RecursionError:
        problems.add(place, f"must be {kind.rule}, found a value that contains itself.")
    return ABSENT


def read_keys(
    table: Mapping[str, Key],
    settings: Mapping[Any, Any],
    place: Place,
    problems: Problems,
    elsewhere: Mapping[str, str] | None = None,
    allow_others: bool = False,
) -> dict[str, Any]:
    """Check a mapping key by key.

    Args:
        table: The keys there are.
        settings: The mapping.
        place: Says where a key stands.
        problems: Takes what is wrong.
        elsewhere: Keys that are known, but not here: what to say about each.
        allow_others: Whether keys that are not in the table are passed over.

    Returns:
        The normalised values of the keys that are right, defaults of those that are not given.
    """
    hints = {**REFUSED, **(elsewhere or {})}
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(name, str) and name in table:
            read = read_value(table[name].kind, value, place(name), problems)
            if read is not ABSENT:
                values[name] = read
        elif isinstance(name, str) and name in RENAMED:
            problems.add(place(name), "is an old name of FuxiCTR's.", RENAMED[name])
        elif isinstance(name, str) and name in hints:
            problems.add(place(name), "is not for this place.", hints[name])
        elif not allow_others:
            near = suggest(name, table) if isinstance(name, str) else " Keys are text."
            problems.add(place(short(name).strip("'")), "is not a known key.", near)
    for name, key in table.items():
        if name in settings or key.default is ABSENT:
            continue
        if key.default is REQUIRED:
            problems.add(place(name), "is missing.", f"Add it: {key.meaning}; {key.kind.rule}.")
        else:
            values[name] = list(key.default) if isinstance(key.default, list) else key.default
    return values


def key_by_name(table: Mapping[str, Key], name: str) -> Key:
    """Return the first key of a table whose name fits, ``*`` standing for anything."""
    return next(key for pattern, key in table.items() if fnmatchcase(name, pattern))


class Entry(NamedTuple):
    """One column of a list of mappings.

    Attributes:
        place: Where it stands.
        values: The values that are right.
        whole: Whether all are.
    """

    place: str
    values: dict[str, Any]
    whole: bool


def read_entries(
    table: Mapping[str, Key], entries: Any, place: str, problems: Problems
) -> Iterator[Entry]:
    """Check a list of mappings that have names, each standing for one column or several.

    Args:
        table: The keys of an entry.
        entries: The list.
        place: Where it stands.
        problems: Takes what is wrong.

    Yields:
        Each column of the entries whose name is right.
    """
    if not isinstance(entries, list) or not entries:
        problems.add(place, f"must be a list of mappings, found {short(entries)}.")
        return
    for index, entry in enumerate(entries):
        at = f"{place}[{index}]"
        if not isinstance(entry, dict):
            problems.add(at, f"must be a mapping, found {short(entry)}.")
            continue
        name = entry.get("name")
        first = name[0] if isinstance(name, list) and name else name
        title = f"{at} ({first})" if isinstance(first, str) else at

        def key_place(key: object, title: str = title) -> str:
            return f"{title}.{key}"

        before = len(problems.entries)
        values = read_keys(table, entry, key_place, problems)
        if "name" in values:
            names = values["name"]
            for one in names if isinstance(names, list) else [names]:
                whole = len(problems.entries) == before
                yield Entry(f"{at} ({one})", {**values, "name": one}, whole)

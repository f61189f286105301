"""All that is wrong with a config, collected for one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fuxictr_stem.errors import ConfigError, Problem
from fuxictr_stem.runtime.text_table import amount

# Says where a key is, for a message.
Place = Callable[[object], str]


class ProblemsError(ConfigError):
    """A configuration with problems; ``entries`` are where each is, and what it is."""

    def __init__(self, text: str, entries: Sequence[tuple[str, str]]) -> None:
        super().__init__(text)
        self.entries = entries


class Problems:
    """The problems of a config: where each is, as ``place`` says of its key, and what it is."""

    def __init__(self, place: Place = str) -> None:
        self.place = place
        self.entries: list[tuple[str, str]] = []

    def at(self, place: Place | str) -> Problems:
        """Return these problems for keys at other places, such as those within the mapping at one."""
        within: Place = (lambda key: f"{place}.{key}") if isinstance(place, str) else place
        view = Problems(within)
        view.entries = self.entries
        return view

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def lines(self) -> list[str]:
        """One line for each problem and place."""
        return [f"{place}: {text}" for place, text in self.entries]

    def add(self, key: object, text: str, hint: str = "") -> None:
        """Note a problem: its key, the rule with the value found, the next step."""
        self.entries.append((self.place(key), f"{text} {hint.strip()}".rstrip()))

    def add_all(self, problems: Iterable[Problem]) -> bool:
        """Note what rules yield; return whether it was anything."""
        before = len(self)
        for problem in problems:
            self.add(*problem)
        return len(self) > before

    def add_error(self, key: str, error: ConfigError) -> None:
        """Note what an error says, problem by problem where it lists several."""
        if isinstance(error, ProblemsError):
            self.entries += error.entries
        else:
            self.add(key, str(error))

    def raise_any(self, subject: str) -> None:
        """Raise one error that lists every problem, if there is any.

        A problem with one text in several places, as a shared YAML anchor makes it, is listed once.
        """
        places: dict[str, dict[str, None]] = {}
        for place, text in self.entries:
            places.setdefault(text, {})[place] = None
        if places:
            count = amount(len(places), "problem")
            lines = "\n".join(f"- {_places(list(at))}: {text}" for text, at in places.items())
            raise ProblemsError(f"{subject}: {count} in the configuration.\n{lines}", self.entries)


def _places(places: list[str]) -> str:
    if len(places) < 3:
        return " and ".join(places)
    return f"{places[0]} and {len(places) - 1} more places ({places[1]}, ..., {places[-1]})"

"""What is counted of a column while its rows become ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxictr_stem.data.encoding.vocabulary import Array

_FIRST_ROUNDED = 2.0**24


@dataclass
class Tally:
    """Counts of one column in one split, gathered block by block.

    Attributes:
        values: Ids; of a sequence without its padding.
        unknown: How many of these are the unknown id; None where no id is.
        missing: Rows without a value.
        clashes: Rows that hold what missing ones become.
        rounded: Numbers of at least 2^24 that float32 rounds.
        example: The first of these, and what it becomes.
        numbers: Count, mean and sum of squared differences from the mean of a feature's numbers.
    """

    values: int = 0
    unknown: int | None = None
    missing: int = 0
    clashes: int = 0
    rounded: int = 0
    example: tuple[Any, ...] = ()
    numbers: tuple[int, float, float] = (0, 0.0, 0.0)

    def count_ids(self, ids: Array, unknown: int) -> None:
        """Count a block's ids, (rows,) or (rows, tokens); a token's 0 is padding."""
        self.values += ids.size if ids.ndim == 1 else int(np.count_nonzero(ids))
        self.unknown = (self.unknown or 0) + int(np.count_nonzero(ids == unknown))

    def count_rounded(self, numbers: Array, stored: Array) -> None:
        """Compare a block's numbers with the float32 that they became, (rows,) both."""
        large = np.abs(numbers) >= _FIRST_ROUNDED
        if large.any():
            places = np.flatnonzero(large & (stored != numbers))
            if len(places) and not self.rounded:
                self.example = (numbers[places[0]].item(), float(stored[places[0]]))
            self.rounded += len(places)

    def count_numbers(self, numbers: Array) -> None:
        """Add a block's numbers, of any shape, to mean and variance (Chan et al., 1979)."""
        count, mean, squares = self.numbers
        more, total = numbers.size, count + numbers.size
        if more:
            apart = numbers.astype(np.float64).ravel()
            its_mean = float(apart.mean())
            apart -= its_mean
            step = its_mean - mean
            squares += float(apart @ apart) + step**2 * count * more / total
            self.numbers = total, mean + step * more / total, squares

"""Tables and amounts as text for people: the one printer of columns that align."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], left: int = 1, indent: str = "") -> str:
    """Return rows as aligned columns.

    Args:
        rows: The rows, the heading first.
        left: How many columns, from the left, align left; the others, numbers, align right.
        indent: What each line begins with.

    Example:
        >>> print(text_table([["task", "AUC"], ["like", ".79"], ["finish", ".8"]]))
        task    AUC
        like    .79
        finish   .8
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def amount(count: int, noun: str) -> str:
    """Return how many of something there are.

    Example:
        >>> amount(1, "row"), amount(2500, "row")
        ('1 row', '2,500 rows')
    """
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def format_bytes(count: float) -> str:
    """Return a number of bytes with a binary unit.

    Example:
        >>> format_bytes(3 * 2**20)
        '3.0 MiB'
    """
    count, unit = min(count, 1e300), "B"  # a config can ask for more than a float holds
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if count >= 1024:
            count, unit = count / 1024, larger
    return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"

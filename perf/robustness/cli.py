"""The command line: topics, one after the other, into a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fuxictr_stem.runtime.text_table import text_table
from perf import machine
from perf.records import HEAD, Record, reasons, write_json, write_markdown
from perf.robustness import concurrent, configs, damage, endurance, inputs, kills, ranks
from perf.robustness.work import Work

TOPICS: dict[str, Callable[[Work], Iterator[Record]]] = {
    "configs": configs.measure,
    "inputs": inputs.measure,
    "kills": kills.measure,
    "ranks": ranks.measure,
    "damage": damage.measure,
    "concurrent": concurrent.measure,
    "endurance": endurance.measure,
}


def main(argv: Sequence[str] | None = None, **sizes: Any) -> int:
    """Run the topics.

    Args:
        argv: The arguments, without the program's name.
        sizes: Fields of `Work`, if not as for the record.

    Returns:
        0, or 1 if something was broken or a target is not met.
    """
    parser = argparse.ArgumentParser(
        prog="python -m perf.robustness", description="Try to break the package."
    )
    parser.add_argument("--out", type=Path, help="JSON file; a Markdown file goes next to it")
    parser.add_argument("--only", nargs="+", choices=TOPICS, metavar="NAME", help=", ".join(TOPICS))
    args = parser.parse_args(argv)
    facts = machine.facts(sys.argv[1:] if argv is None else argv, ("-m", "perf.robustness"))
    records: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="fuxictr_stem_robustness_") as folder:
        work = Work(Path(folder), **sizes)
        for name in args.only or TOPICS:
            start = time.monotonic()
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                records += TOPICS[name](work)
            except Exception as error:  # the other topics have something to say, too
                print(f"{name}: broken.", file=sys.stderr)
                traceback.print_exc()
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                records.append(Record(name, None, "", "<= 0", reason))
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            if args.out is not None:
                # After each topic, so that a run that is stopped leaves what it has found.
                write_json(args.out, records)
                markdown = args.out.with_suffix(".md")
                write_markdown(markdown, records, facts, None, work.sections, "Robustness")
    print(text_table([HEAD, *(record.cells() for record in records)]))
    print("\n".join(["", *reasons(records), *(f"{k}: {v}" for k, v in facts.items())]))
    return int(any(record.reason or record.met is False for record in records))

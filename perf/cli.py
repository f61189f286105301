"""The command line of the benchmarks: its topics, one after the other, into a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuxictr_stem.runtime.text_table import text_table
from perf import (
    caching,
    earlier,
    gpu,
    loading,
    machine,
    on_paper,
    preparing,
    processes,
    profiling,
    ranking,
    scaling,
    scorer,
    scoring,
    training,
    whole_run,
)
from perf.common import BenchmarkError
from perf.records import HEAD, Record, reasons, write_json, write_markdown
from perf.sizes import FULL, QUICK, Sizes

NOTICE = "A quick look at smaller sizes, not for the record."


@dataclass
class Work:
    """What a topic works with.

    Attributes:
        sizes: How large the measurements are.
        folder: For files that go when the run ends.
        out: The JSON file, if one is written.
        sections: Further parts of the Markdown file.
    """

    sizes: Sizes
    folder: Path
    out: Path | None
    sections: list[str] = field(default_factory=list)


def _scaling(work: Work) -> Iterator[Record]:
    points = scaling.measure(work.sizes, work.folder)
    if work.out is not None:
        path = work.out.with_name(f"{work.out.stem}-scaling.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        scaling.picture(points, path)
        work.sections.append(f"![Seconds per million samples, a panel for each]({path.name})")
    yield from scaling.records(points)


TOPICS: dict[str, Callable[[Work], Iterator[Record]]] = {
    "training-small": lambda work: training.compare(work.sizes, 0),
    "training-middle": lambda work: training.compare(work.sizes, 1),
    "training-large": lambda work: training.compare(work.sizes, 2),
    "profile": lambda work: profiling.measure(work.sizes, work.sections),
    "exactness": lambda work: training.exactness(work.sizes),
    "repeatability": lambda work: training.repeat(work.sizes),
    "table-growth": lambda work: training.growth(work.sizes),
    "training-memory": lambda work: training.memory(work.sizes, work.folder),
    "tracking": lambda work: training.tracking(work.sizes, work.folder),
    "loader": lambda work: loading.compare(work.sizes, work.folder),
    "gauc": lambda work: ranking.compare(work.sizes),
    "gauc-large": lambda work: ranking.large(work.sizes),
    "cache": lambda work: caching.compare(work.sizes, work.folder),
    "cache-memory": lambda work: caching.memory(work.sizes, work.folder),
    "preparing": lambda work: preparing.measure(work.sizes, work.folder),
    "scoring": lambda work: scoring.compare(work.sizes, work.folder),
    "whole-run": lambda work: whole_run.compare(work.sizes, work.folder),
    "scorer": lambda work: scorer.compare(work.sizes, work.folder),
    "scorer-ready": lambda work: scorer.ready(work.sizes, work.folder),
    "processes": lambda work: processes.measure(work.sizes, work.folder),
    "processes-on-paper": lambda work: on_paper.table(work.sizes, work.sections),
    "gpu": lambda work: gpu.compare(work.sizes),
    "scaling": _scaling,
}


def main(argv: Sequence[str] | None = None, sizes: Sizes | None = None) -> int:
    """Run the benchmarks.

    Args:
        argv: The arguments, without the program's name.
        sizes: Sizes other than those of ``--quick`` or of the record.

    Returns:
        0, or 1 if a topic could not be measured for another reason than a missing device.
    """
    parser = argparse.ArgumentParser(
        prog="perf/run.py", description="Measure this package against plain FuxiCTR."
    )
    parser.add_argument("--quick", action="store_true", help=f"{NOTICE} Under ten minutes.")
    parser.add_argument("--out", type=Path, help="JSON file; a Markdown file goes next to it")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", nargs="+", choices=TOPICS, metavar="NAME", help=", ".join(TOPICS))
    chosen.add_argument(
        "--against", metavar="COMMIT", help="measure this tree against an earlier commit instead"
    )
    args = parser.parse_args(argv)
    topics = TOPICS
    if args.against:
        topics = {"against": lambda w: earlier.compare(w.sizes, w.folder, args.against)}
    facts = machine.facts(sys.argv[1:] if argv is None else argv)
    notice = NOTICE if args.quick else None
    records: list[Record] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="fuxictr_stem_benchmark_") as folder:
        work = Work(sizes or (QUICK if args.quick else FULL), Path(folder), args.out)
        for name in args.only or topics:
            start = time.monotonic()
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                records += topics[name](work)
            except Exception as error:  # the other topics have something to say, too
                if not isinstance(error, BenchmarkError):
                    traceback.print_exc()
                records.append(Record(name, None, "", None, str(error) or type(error).__name__))
                failed = True
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            if args.out is not None:
                # After each topic, so that a run that is stopped leaves what it has found.
                write_json(args.out, records)
                markdown = args.out.with_suffix(".md")
                write_markdown(markdown, records, facts, notice, work.sections)
    print(text_table([HEAD, *(record.cells() for record in records)]))
    print("\n".join(["", *reasons(records), *(f"{k}: {v}" for k, v in facts.items())]))
    if notice:
        print(notice)
    return int(failed)

"""Many settings of one experiment: the one search of the project, and FuxiCTR's tuner files.

`space` is what a search may try; `samplers` (with `tpe`) choose the next settings and turn them into runs,
`trials` holds what became of them. `execute` makes runs, each by `worker` in a process of its own, and
takes only those that `verify_run` finds complete; `run_spec` names a run by what decides its numbers. The
benchmark uses these. `tuner_file` reads a tuner file, `tuner_runs` turns its trials into runs, `run_tuner`
does both; the page of pictures is drawn by `benchmark/report/tuner_page`, as those of a benchmark are.
"""

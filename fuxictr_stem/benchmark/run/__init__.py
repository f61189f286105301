"""From a benchmark file to finished runs.

`benchmark_file` declares the keys, with `search` for the grid; `benchmark_config` reads and checks the
file. `plan` says which runs it needs, each with a key that changes with whatever decides its numbers.
`execute` makes those that are missing, each by `worker` in a process of its own, and takes only runs that
`verify_run` finds complete.
"""

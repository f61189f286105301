"""From a benchmark file to finished runs.

`benchmark_file` declares the keys; `benchmark_config` reads and checks the file. `plan` says which runs it
needs, where they are, and gives each a key that changes with whatever decides its numbers; `tuning` makes
those that are missing, and has the search.
"""

"""From a benchmark file to finished runs.

`benchmark_file` declares the keys; `benchmark_config` reads and checks the file. `plan` says which runs it
needs, each with a key that changes with whatever decides its numbers. `workspace` says where they are;
`tuning` makes those that are missing, and has the search.
"""

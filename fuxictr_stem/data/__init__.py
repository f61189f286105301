"""Data: source files into a checked, content-addressed cache of ids, and batches from it.

A preparer (`preparers`) turns official raw files into splits. `source` reads a dataset's files as checked
columns, `encoding` turns columns into ids, `cache` keeps the ids on disk, named by all that they depend on;
`checks` looks for what an experiment cannot learn from in a cache, and `loading` hands out batches of it.
`source` and `encoding` import neither torch nor FuxiCTR, except to fit.
"""

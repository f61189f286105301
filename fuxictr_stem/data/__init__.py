"""Data: source files into a checked, content-addressed cache of ids, and batches from it.

A preparer (`preparers`) turns official raw files into splits. `source` reads a dataset's files as checked
columns, `encoding` turns columns into ids, `cache` keeps the ids on disk, named by all that they depend on;
`checks` looks for what an experiment cannot learn from in a cache, and `loading` hands out batches of it.
"""

from fuxictr_stem.data.cache.open_cache import Cache, load_feature_map, open_cache
from fuxictr_stem.data.checks.check_labels import check_groups, check_labels, check_samples
from fuxictr_stem.data.checks.check_leaks import warn_of_leaks
from fuxictr_stem.data.checks.unknown_ids import report_ids
from fuxictr_stem.data.loading.loader import H5Loader

__all__ = [
    "Cache",
    "H5Loader",
    "check_groups",
    "check_labels",
    "check_samples",
    "load_feature_map",
    "open_cache",
    "report_ids",
    "warn_of_leaks",
]

"""Data: source files into a checked, content-addressed cache of ids, and batches from it."""

from fuxictr_stem.data.cache.check_labels import check_labels
from fuxictr_stem.data.cache.check_leaks import warn_of_leaks
from fuxictr_stem.data.cache.check_samples import check_groups, check_samples
from fuxictr_stem.data.cache.id_report import report_ids
from fuxictr_stem.data.cache.open_cache import Cache, load_feature_map, open_cache
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

"""Data: source files into a checked, content-addressed cache of ids, and batches from it."""

from fuxictr_stem.data.cache import Cache, open_cache
from fuxictr_stem.data.labels import check_labels
from fuxictr_stem.data.loader import H5Loader

__all__ = ["Cache", "H5Loader", "check_labels", "open_cache"]

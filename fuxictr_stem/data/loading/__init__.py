"""Batches from a cache file.

`loader` is what models train on, in the place of FuxiCTR's data loaders: it reads rows of the file into one
matrix per type (`matrix`), all at once or window by window, in the order that the seed and the epoch decide
(`order`). Processes of one machine keep a split in memory once, and each takes a part of every batch.
"""

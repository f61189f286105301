"""Checked columns to ids: FuxiCTR's processor decides what an id is, the rows become arrays of them.

`fit` has FuxiCTR's ``FeatureProcessor`` fit its vocabularies and normalizers; `count_tokens` counts for it
in bounded memory, and `pretrained` checks the files of pretrained vectors. `encode` turns the rows of a
split into arrays, block by block, with `vocabulary` (tokens to ids, as arrays), and counts on the way;
`fill_values` says what missing values become. `remarks` says what is odd about the counts.
"""

"""Checked columns to ids: FuxiCTR's processor decides what an id is, the rows become arrays of them.

`fit` has FuxiCTR's ``FeatureProcessor`` fit its vocabularies and normalizers; `count_tokens` counts for it,
in one process or several and in bounded memory, and `pretrained` checks the files of pretrained vectors.
What it has found out becomes plain data, in memory and in files (`encoder_files`). `row_encoder` is what
others use of it: rows of frames (`frame_programs`) and single ones (`value_encoders`) to arrays, with
`fill_values` (missing values, copies), `column_encoders` and `vocabulary` (tokens to ids). `encode` turns
rows of files into arrays, block by block, and counts on the way; `remarks` says what is odd about these.
"""

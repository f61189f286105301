"""Checked columns to ids: FuxiCTR's processor decides what an id is, the rows become arrays of them.

`fit` has FuxiCTR's ``FeatureProcessor`` fit its vocabularies and normalizers; `count_features` counts for
it, in one process or several, by `count_tokens` in bounded memory, and `pretrained` checks the files of
pretrained vectors. What it has found out becomes plain data, `fitted`, which `encoder_files` writes and
reads. `row_encoder` is what others use of it: rows
of frames (`frame_programs`), of files (`file_blocks`) and single ones (`value_encoders`) to arrays, with
`fill_steps` (missing values, copies), `column_encoders` and `vocabulary` (tokens to ids). `encode` turns
the rows of files into arrays, block by block, and counts on the way; `fill_values` says whether real values
are what missing ones become, `remarks` what is odd about the counts. `match_tokens` compares vocabularies.
"""

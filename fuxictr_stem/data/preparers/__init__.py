"""Preparers: from the official raw files of a data set to train, valid and test as parquet.

One way through: `job` reads what a dataset config asks for; `prepare` of `run_job` finds out whether that
is done, and otherwise does it: the data set's preparer (`tiktok`, `qkvideo`, `kuairand`, `tiktok_sample`)
reads its files by `raw` and says of each row where it goes, `splits` writes and counts the rows, and a
record says what they were made from. A preparer is a declaration of columns and options, and a rule of
splitting.
"""

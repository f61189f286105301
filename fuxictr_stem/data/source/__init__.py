"""Source files, found, read and checked: what comes out is right, and in the declared types.

`files` finds the files of each split; `column_plan` works out from the config which columns are read and
what FuxiCTR gets, each column a `source_column`. `open_source` compares the two: a `split_files.Source` has
the plan and a `Part` per file, with the types of its columns. `validate` then reads each split once. A CSV
file goes through `csv_shape` (which rows it has, from its bytes) and `csv_files` (pyarrow counts fields and
rows, and copies the columns to an Arrow file, so that its text is never read again); `dialect` has its
special characters. `readings` says how each column's values come from the raw ones, and what they may not
be; `derived_columns` are those that a function makes. From there on `Source.frame` gives the checked
columns. `raw_columns` reads some columns of the same files as they are.
"""

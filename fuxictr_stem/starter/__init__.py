"""`init`: from one file of logs to configs that run.

`read_logs` reads the file as training reads files, with all checks; `findings` looks at what its columns
hold; `split_rows` cuts the rows into train, valid and test and writes them; `write_project` writes the
configs, with what was guessed and why, and `check_project` checks them as a run would. What a column of
some type is, is guessed where `fit` does that, in `frames.guess_columns`.
"""

"""Training from Python: data frames in, a finished run and its configs out.

`fit_frames` has the public function, `fit`, and `request` its arguments. `training_rows` turns frames or
files into split files, `guess_columns` says what each column is, `config_files` writes that and the
settings as FuxiCTR's configs, `run_place` decides what may be written into a folder that holds a run
already, and `python_words` puts messages about configs into words for a caller who has written none.
"""

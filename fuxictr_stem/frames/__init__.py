"""Training from Python: data frames in, a finished run and its configs out.

`fit` is the public function. `inputs` brings frames or files to split files, `guess_columns` says what each
column is, `config_files` writes that and the settings as FuxiCTR's configs, `run_place` decides what may be
written into a folder that holds a run already, `process_state` has the process be as it was afterwards,
and `python_words` puts messages about configs into words for somebody who has written none.
"""

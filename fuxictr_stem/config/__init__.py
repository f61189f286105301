"""Experiment and dataset configs: read safely, checked as a whole, normalised.

`yaml_files` reads files into sections. `schema` declares every key as a pydantic field of a type of
`value_types`; `reading` takes a section key by key through them and notes in `problems` what is wrong.
`dataset_config` does so for a dataset, with the rules of its columns (`columns`, `column_rules`);
`experiment_config` for an experiment on it, with the keys of its model (`model_parameters`), its changes of
columns and its `tasks`. All problems end in one message. `result_settings` says which settings decide a
result. `column_words` names column types, for reading data, too; it imports nothing.
"""

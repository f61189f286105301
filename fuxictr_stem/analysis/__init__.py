"""A look inside trained models, and at comparable samples.

`model_parts` cuts a model into the tables, experts, gates and towers that people name. `gradient_flow`
measures which task's loss reaches which of them, and `audit` reports the faults in that;
`synthetic_features` lets it do so without data. `gates` averages gate weights, `table_similarity` compares
embedding tables. `slices` sorts users by their positive feedback, and `slice_metrics` measures models on
each slice. All return plain arrays, which `benchmark/report` draws.
"""

"""A look inside trained models, and at comparable samples.

`gradient_flow` cuts a model into the tables, experts, gates and towers that people name, and measures which
task's loss reaches which of them; `audit` reports the faults in that, and `synthetic_features` lets it do
so without data. `gate_weights` averages gate weights, `table_similarity` compares embedding tables.
`slices` sorts users by their positive feedback, and `slice_metrics` measures models on each slice. All
return plain arrays, which `benchmark/report` draws.
"""

"""Training of any FuxiCTR `MultiTaskModel`.

`memory_plan` plans the memory before a model is built, with a `synthetic_batch`. `trainer` runs the loop:
each batch goes to the model's ``train_step``, which for Adam is `adam_step` (on CUDA devices recorded by
`cuda_graph_step`, in the `precision` chosen); `task_loss` gives each task's mean loss, `loss_weights`
weighs them, `balancing` combines their gradients, `loss_sums` keeps what is reported and looks at the first
losses, `nan_guard` at all of them; `evaluation` predicts and measures. `saving` writes states by `snapshot`
into `state_folders` and reads them for ``--resume``; `weights` reads safetensors; `predictions_file` writes
the parquet files. `trackers/` show a run while it trains; `ranks` are the processes that train together.
"""

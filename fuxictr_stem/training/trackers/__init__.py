"""Trackers: services that show a run while it trains, and keep what it was.

`tracking` is what the trainer calls: it makes a point of figures every so many steps and at each
evaluation, from tensors that it reads when the losses have been looked at anyway; `gate_means` averages
the gates' weights over a validation. `delivery` hands the points to a service in a thread and gives up
where that fails. `tracker` says what an adapter does; `tensorboard_tracker`, `mlflow_tracker` and
`wandb_tracker` are the adapters, and `adapters` chooses among them. docs/tracking.md is for users.

Each point reaches a service once, also after a kill: a training state holds the points that were not
delivered yet, and a service that has points from after the state says so (or, as TensorBoard, drops them).
"""

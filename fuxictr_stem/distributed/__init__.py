"""Several processes that train as one: `torchrun` starts them, `torch.distributed` (gloo) carries messages.

A batch is dealt to the ranks (`data.loading`). Its rows of all tables come from the ranks that keep them by
one exchange, and their gradients go back by another (`row_exchange`); what is dense is the same everywhere.
So each step (`sharded_step`) is that of one process to rounding. `split_model` splits a model and rejects
what cannot be split; `gathered_weights` writes its weights into one file, as one process does; the ranks'
messages are in `messages`. Before that, `rendezvous` brings the ranks together, and `same_data` checks that
all have the same data. `session` is what the ranks agree on outside steps, and how all end with one message
when one of them ends; `rank_saving` writes the states of all into one folder.
"""

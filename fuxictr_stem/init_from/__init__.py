"""Training that starts from the weights of a finished run (``--init-from``).

`compatibility` opens that run's folder and compares how its model is made with the experiment, before any
data are read: all that does not fit is one message. `copy_weights` copies the weights into the model when
its training begins, table rows by raw token, and records what was matched.
"""

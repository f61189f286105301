"""Training that starts from the weights of a finished run (``--init-from``).

`source` opens that run's folder and says how its model is made. `fit` compares it with the experiment
before any data are read: all that cannot be taken over is one message. `start` copies the weights into the
model when its training begins, table rows by raw token, and records what was matched.
"""

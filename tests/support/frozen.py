"""Imported last by the server that forks: what is imported is garbage for no process of it."""

import gc

gc.freeze()

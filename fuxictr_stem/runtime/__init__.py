"""The process around the work; it knows neither data nor models.

`guarded` runs a command: it sets up the console (`logs`), obeys `signals`, and ends a user's mistake in one
message. Long work shows its `progress`; tables and amounts for people come from `text_table`. What is
written goes through `outputs` (files) and `whole_folder` (folders): it appears whole or not at all. `locks`
keep processes apart; `file_errors` separates system errors from faults in a file; `h5_files` reads nothing
from elsewhere. `memory` says what is free and keeps what is freed, `memory_shares` says what other runs
will still take; `lazy_imports` keeps slow packages out of a run that does not need them. `group` is what
processes that work together see of one another; `read_ahead` reads in a thread; `versions` names the
software.
"""

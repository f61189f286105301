"""Many experiments compared: `run_benchmark` makes the runs, scores them and reports.

`run/` turns a benchmark file into a plan and makes its runs in processes; `score/` turns what they leave
into numbers (`score/leaderboard.py` computes every number of the tables); `report/` writes the numbers as
tables, sentences and pictures. Each knows only those before it.
"""

"""From finished runs to numbers.

`finished_runs` gathers what the runs have left into a `FinishedBenchmark`. `leaderboard` computes every
number of the tables from it: means, differences, costs, and with `significance` which differences are more
than chance. `model_analysis` looks inside one run of each model, and measures all on comparable samples.
"""

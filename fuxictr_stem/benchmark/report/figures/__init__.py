"""The report's pictures: `score_figures` of the leaderboard, `analysis_figures` of the models' insides.

Both draw with `panels` (models one below the other) and `heat_maps`, in the colours and sizes of `style`.
"""

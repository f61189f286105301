"""The report's pictures: of the leaderboard's scores, of searches, of the models' insides.

They are in `score_figures`, `search_figures` and `analysis_figures`. All are drawn with the panels, colours
and sizes of `style`; `heat_maps` have a number in every cell.
"""

"""The report's pictures: of the leaderboard's scores, of searches, of the models' insides.

All are drawn with the panels, colours and sizes of `style`; `heat_maps` have a number in every cell.
"""

"""From numbers to files for people and programs.

`leaderboard_tables`, `analysis_tables` and `summary` turn numbers into tables and sentences, with
`formatting` for every number; `figures/` draws pictures. `report_files` writes them all, with the files of
``templates/``: leaderboard.md, .csv and .json, and the page with its pictures. `tuner_page` writes such a
page for a search.
"""

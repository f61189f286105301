"""From numbers to files for people and programs.

`leaderboard_tables`, `analysis_tables` and `summary` turn numbers into tables and sentences, with
`formatting` for every number; `figures/` draws pictures. `leaderboard_files` writes leaderboard.md, .csv
and .json, `html_report` the page and the pictures: `render` fills the files of ``templates/`` with them.
"""

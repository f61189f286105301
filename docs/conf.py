"""The site: sphinx-build -W -b html docs OUT. The pages are plain Markdown, which reads well without it."""

project = "fuxictr_stem"
author = "the developers of fuxictr_stem"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
# Links to a heading, such as models.md#stemnet.
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
html_theme = "furo"
html_title = "fuxictr_stem"
exclude_patterns = ["README.md"]  # index.rst includes it

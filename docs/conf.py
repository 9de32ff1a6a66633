"""Sphinx builds the site from these pages: `make docs`."""

from importlib.metadata import version as installed

project = "Tapeline"
author = "The Tapeline authors"
version = release = installed("tapeline")
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# `$least` is DuckDB's spelling of a parameter, which the highlighter does not know.
suppress_warnings = ["misc.highlighting_failure"]
# Most blocks are commands and their output, not Python.
highlight_language = "none"
html_theme = "furo"
html_title = "Tapeline"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]

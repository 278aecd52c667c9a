"""Sphinx's settings. `make site` calls it by way of build.py, which lays the sources out."""

from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "build" / "site-source"

project = "saa_lite"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without another server
]
nb_execution_mode = "off"  # notebooks are committed executed
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
exclude_patterns = ["extra"]
html_theme = "furo"
html_static_path = ["frames.js", "frames.css"]
html_js_files = [("frames.js", {"defer": "defer"})]
html_css_files = ["frames.css"]
html_title = "saa_lite"
html_extra_path = [str(SOURCE / "extra")]  # pictures that README shows by HTML, and llms.txt
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]


def _bars_are_bars(app, what, name, obj, options, lines):
    """In docstrings |x| is an absolute value; reStructuredText would look for a substitution."""
    for place, line in enumerate(lines):
        parts = line.split("``")
        lines[place] = "``".join(
            part if number % 2 else part.replace("|", r"\|") for number, part in enumerate(parts)
        )


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _bars_are_bars)

"""Sphinx's settings; `make docs` builds the site."""

import rectexport
from docs.site import docstrings

project = "rectexport"
copyright = "Apache-2.0"
release = version = rectexport.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns: list[str] = []

# Documents in Markdown, as the repository shows them.
myst_enable_extensions = ["deflist", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # levels that a document leaves out
default_role = "code"  # docstrings write names in single backticks

# Flags such as --model keep both dashes.
smartquotes = False

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 88
# Types of other packages have no pages here, and nothing is loaded from the network.
nitpick_ignore_regex = [(r"py:.*", r"(?!rectexport\.).*")]

html_theme = "furo"
html_title = "rectexport"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e79", "color-brand-content": "#1c5a94"},
    "dark_css_variables": {"color-brand-primary": "#8ab8e6", "color-brand-content": "#8ab8e6"},
}


def setup(app):  # type: ignore[no-untyped-def]
    """Connect what rewrites docstrings."""
    app.connect("autodoc-process-docstring", docstrings.rewrite)

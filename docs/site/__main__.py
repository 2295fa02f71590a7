"""`python -m docs.site`: build the site from docs/ and the code into build/site; any warning is an error."""

from __future__ import annotations

import sys

from sphinx.cmd.build import main

from docs.site.accessible import mend_pages
from docs.site.links import ROOT
from docs.site.pages import write_pages


def build() -> int:
    """Build the site; the exit code of Sphinx."""
    pages, site = ROOT / "build" / "site-pages", ROOT / "build" / "site"
    write_pages(pages)
    code: int = main(["-W", "--keep-going", "-n", "-q", "-E", "-c", "docs/site", str(pages), str(site)])
    mend_pages(site)
    return code


if __name__ == "__main__":
    sys.exit(build())

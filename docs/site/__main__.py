"""`python -m docs.site`: build the site from docs/ and the code into build/site; any warning is an error."""

from __future__ import annotations

import sys

from sphinx.cmd.build import main

from docs.site.links import ROOT
from docs.site.pages import write_pages

if __name__ == "__main__":
    write_pages(ROOT / "build" / "site-pages")
    words = ["-W", "--keep-going", "-n", "-q", "-c", "docs/site", "build/site-pages", "build/site"]
    sys.exit(main(words))

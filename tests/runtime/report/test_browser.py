"""The page in a real browser, if installed: it fits a phone, has a dark scheme, and its policy blocks scripts."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rectexport.runtime.package.folder import Package
from rectexport.runtime.report.page import Documents, build_page
from tests.runtime.report.conftest import latency_document, origins_document, parity_document, profile_document

pytest.importorskip("jinja2")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

Write = Callable[..., Path]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--enable-logging=stderr"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
#: A page of the test's own frames the report (a window is never narrower than 500 pixels), and measures it.
PROBE = """<!doctype html><meta name="color-scheme" content="light dark"><body>
<iframe width="%d" height="800" style="border:0" srcdoc="%s"></iframe>
<script>
document.querySelector("iframe").onload = event => {
  const inner = event.target.contentDocument, root = inner.documentElement;
  const style = event.target.contentWindow.getComputedStyle(inner.body), facts = document.body.dataset;
  facts.wide = root.scrollWidth;
  facts.paper = style.backgroundColor;
  facts.ink = style.color;
  const swatch = inner.querySelector(".tree .w"), time = inner.querySelector("#by-time");
  const colour = () => swatch && event.target.contentWindow.getComputedStyle(swatch).backgroundColor;
  facts.distance = colour();
  if (time) { time.checked = true; facts.time = colour(); }
  facts.outside = [...inner.querySelectorAll("main *")].filter(
    e => !e.closest(".scroll") && e.getBoundingClientRect().right > root.clientWidth + 1).length;
};
</script>"""


@pytest.fixture
def page(write: Write) -> str:
    parity = parity_document(layers=200, shapes=3)
    return build_page(Package.open(write(parity=parity, latency=latency_document())), "net")


def seen(page: str, folder: Path, *flags: str) -> tuple[str, str]:
    """The document as the browser has it after loading, and what it logged."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    options = [*FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    command = [str(CHROMIUM), *options, "--dump-dom", file.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, ran.stderr


def probed(page: str, folder: Path, width: int, *flags: str) -> dict[str, str]:
    """The page in a frame of that width, measured."""
    dom, _ = seen(PROBE % (width, html.escape(page)), folder, *flags)
    body = dom[dom.index("<body") :]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body[: body.index(">")]))


def brightness(colour: str) -> float:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 765


@pytest.mark.parametrize(("width", "scheme"), [(390, 0), (1280, 1)])
def test_the_page_fits_its_window(page: str, tmp_path: Path, width: int, scheme: int) -> None:
    """preferredColorScheme is 0 for dark and 1 for light."""
    found = probed(page, tmp_path, width, f"--blink-settings=preferredColorScheme={scheme}")
    assert int(found["wide"]) == width and int(found["outside"]) == 0
    paper, ink = brightness(found["paper"]), brightness(found["ink"])
    assert (paper < 0.15 and ink > 0.8) if scheme == 0 else (paper > 0.9 and ink < 0.2)


def test_the_content_security_policy_blocks_scripts(page: str, tmp_path: Path) -> None:
    script = "<script>document.body.dataset.ran = 1</script></body>"
    dom, log = seen(page.replace("</body>", script), tmp_path)
    assert "data-ran" not in dom and "Content Security Policy" in log
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    dom, _ = seen(open_page.replace("</body>", script), tmp_path)
    assert "data-ran" in dom  # the probe is one that would have run
    _, quiet = seen(page, tmp_path)
    assert "Content Security Policy" not in quiet and "CONSOLE" not in quiet


def test_the_map_is_coloured_by_distance_or_time_without_a_script(write: Write, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(profile_document()))
    folder = write(origins=origins_document())
    page = build_page(Package.open(folder), "net", Documents(profile=tmp_path / "profile.json"))
    found = probed(page, tmp_path, 800, "--blink-settings=preferredColorScheme=1")
    transparent = "rgba(0, 0, 0, 0)"
    assert found["distance"] not in ("null", transparent, found["time"]) and found["time"] != transparent

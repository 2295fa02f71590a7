"""The page at GET /: its files, the token, the lines to copy, and a browser that uses it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.serving.conftest import Running, ask

TOKEN = "a token of the page's tests".replace(" ", "-")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x [1..4, 3, 8..32, 8..32] -> y, the same image times two, and its three channel means."""
    torch = pytest.importorskip("torch")
    import rectexport

    class Twice(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 2, x.mean((2, 3))

    height, width = (torch.export.Dim(name, min=8, max=32) for name in ("h", "w"))
    shapes = ({0: torch.export.Dim("n", min=1, max=4), 2: height, 3: width},)
    out = tmp_path_factory.mktemp("page") / "twice"
    rectexport.export(Twice(), (torch.rand(2, 3, 16, 20),), out, shapes, guard=False)
    return out


@pytest.fixture(scope="module")
def served(serve: Callable[..., Running], package: Path) -> Running:
    return serve(package, "--grpc-port", -1)


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Running], trouble: Path, tmp_path_factory: pytest.TempPathFactory) -> Running:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    return serve(trouble, "--grpc-port", -1, "--token-file", file)


def test_the_page_loads_nothing_from_elsewhere(served: Running) -> None:
    for path in ("/", "/page.css", "/page.js"):
        answer = ask(served.http, path)
        assert answer.status == 200 and b"http://" not in answer.body and b"https://" not in answer.body
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert ask(served.http, "/", method="DELETE").headers["allow"] == "GET, HEAD"


def test_the_page_can_be_left_out(serve: Callable[..., Running], trouble: Path) -> None:
    running = serve(trouble, "--grpc-port", -1, "--no-page")
    assert ask(running.http, "/").status == ask(running.http, "/page.json").status == 404
    assert running.events("serving")[0]["page"] is None


def test_the_document_has_models_shapes_health_and_latency(served: Running) -> None:
    found = json.loads(ask(served.http, "/page.json", host="there:1").body)
    (model,) = found["models"]
    assert found["ready"] and model["ready"] and model["batch"] == 4
    assert model["inputs"][0]["bounds"] == [[1, 4], [3, 3], [8, 32], [8, 32]]
    assert model["inputs"][0]["example"] == [1, 3, 16, 20]
    assert "http://there:1/v2/models/twice/versions/1/infer" in model["curl"]
    assert "http://localhost/" in json.loads(ask(served.http, "/page.json", host="<b>").body)["models"][0]["curl"]


def test_the_lines_to_copy_work(served: Running) -> None:
    model = json.loads(ask(served.http, "/page.json", host=served.http).body)["models"][0]
    ran = subprocess.run([sys.executable, "-c", model["python"]], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "0." in ran.stdout, ran.stderr
    logged = served.events("serving")[0]
    assert logged["page"] == f"http://{served.http}/" and logged["curl"] == model["curl"]
    if shutil.which("curl") and shutil.which("python3"):
        shell = subprocess.run(["sh", "-c", model["curl"]], capture_output=True, text=True, timeout=60)
        assert [one["shape"] for one in json.loads(shell.stdout)["outputs"]] == [[1, 3, 16, 20], [1, 3]]


def test_the_page_is_behind_the_token(guarded: Running) -> None:
    refused = ask(guarded.http, "/")
    assert refused.status == 401 and refused.headers["www-authenticate"].startswith("Basic")
    wrong, right = ("Basic " + base64.b64encode(f"me:{word}".encode()).decode() for word in ("something else", TOKEN))
    assert ask(guarded.http, "/page.json", authorization=wrong).status == 401
    assert ask(guarded.http, "/", authorization="Basic ä").status == 401
    assert ask(guarded.http, "/", authorization=right).status == 200
    document = json.loads(ask(guarded.http, "/page.json", authorization=right).body)
    assert TOKEN not in json.dumps(document) and "$TOKEN" in document["models"][0]["curl"]
    # Another site's page can make a browser send the password, but not the page's own header.
    assert ask(guarded.http, "/v2", authorization=right).status == 401
    assert ask(guarded.http, "/v2", authorization=right, x_rectexport_page="1").status == 200


# ── A browser ─────────────────────────────────────────────────────────────────


class Browser:
    """Headless Chromium through its WebDriver."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        asked = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": flags}}}
        self._base += "/session/" + self.send("POST", "/session", {"capabilities": asked})["sessionId"]

    def send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:1000]) from None

    def run(self, script: str) -> Any:
        return self.send("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str) -> None:
        end = time.monotonic() + 30
        while not self.run(f"return {condition}"):
            assert time.monotonic() < end, self.run("return document.body.innerText")
            time.sleep(0.1)

    def choose(self, file: Path) -> None:
        (found,) = self.send("POST", "/element", {"using": "css selector", "value": "input[type=file]"}).values()
        self.send("POST", f"/element/{found}/value", {"text": str(file)})

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self.send("POST", "/goog/cdp/execute", command)

    def picture(self) -> bytes:
        return base64.b64decode(self.send("GET", "/screenshot"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver: apt install chromium chromium-driver")
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "successfully on port" in line)
            yield Browser(int(line.rstrip(".\n").split()[-1]))
        finally:
            process.kill()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (375, 800)])
def test_a_browser_shows_models_and_answers(
    browser: Browser, served: Running, tmp_path: Path, width: int, height: int
) -> None:
    browser.size(width, height)
    browser.send("POST", "/url", {"url": f"http://{served.http}/"})
    browser.wait("document.querySelector('.model .facts')?.textContent.startsWith('ready')")
    assert browser.run("return document.querySelector('.tensors tbody').innerText").split() == [
        *("input", "x", "FP32", "[1…4,", "3,", "8…32,", "8…32]"),
        *("output", "output_0", "FP32", "[1…,", "3,", "1…,", "1…]"),
        *("output", "output_1", "FP32", "[1…,", "3]"),
    ]
    values = np.zeros((1, 3, 9, 12), np.float32)
    values[:, 2] = 4
    np.savez_compressed(tmp_path / "good.npz", x=values)
    browser.choose(tmp_path / "good.npz")
    browser.wait("document.querySelector('.said').textContent.includes('answered')")
    assert "class 2: 100 %" in browser.run("return document.querySelector('.answers').innerText")
    assert browser.run("return document.querySelector('.answers tbody tr').innerText").split() == ["2", "4"]
    picture = tmp_path / "picture.png"
    picture.write_bytes(browser.picture())  # any image will do; it is fitted to the largest size that the model takes
    browser.choose(picture)
    browser.wait("document.querySelector('.answers h3')?.textContent.includes('32, 32')")
    np.savez(tmp_path / "bad.npz", x=values[:, :2])
    browser.choose(tmp_path / "bad.npz")
    browser.wait("document.querySelector('.said').classList.contains('bad')")
    assert "expected shape [1..4, 3, 8..32, 8..32]" in browser.run("return document.querySelector('.said').textContent")
    assert browser.run("return document.documentElement.scrollWidth") <= width, "the page is wider than the screen"

"""Make the pictures of docs/serve.md, docs/report.md and docs/predict.md again: two pages with a drawn 7, and a report.

python scripts/screenshots.py RUN

RUN is a run on MNIST. Needed are the extras test and export, Debian's chromium, and the npm package of the web folder:

npm install --prefix build/npm onnxruntime-web
"""

import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).parents[1]
IMAGES = REPOSITORY / "docs" / "images"
RUNTIME = REPOSITORY / "build" / "npm" / "node_modules" / "onnxruntime-web"
SHOTS = {
    "": {"viewport": {"width": 1180, "height": 640}, "color_scheme": "light"},
    "-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True},
}
"""A desktop in light colours, and a phone in dark ones, by the end of a picture's name."""
STROKE = ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))  # a 7, as fractions of the canvas


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def draw(page: Page, after: str = "#why[src]") -> None:
    """Draw the digit, and wait for what the page shows of it once the pen is lifted, a selector."""
    page.wait_for_selector("#canvas:visible")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    start, *others = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in STROKE)
    page.mouse.move(*start)
    page.mouse.down()
    for each in others:
        page.mouse.move(*each, steps=8)
    page.mouse.up()
    page.wait_for_selector(after)


def main(run: str) -> None:
    """Serve a run, write its report, and take the pictures."""
    flaxcnn = [sys.executable, "-m", "flaxcnn"]
    words = [*flaxcnn, "serve", run, "--port", "0"]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as service:
        report, site = Path(folder, "report.html"), Path(folder, "site")
        subprocess.run([*flaxcnn, "report", run, "--out", str(report)], check=True)
        export = [*flaxcnn, "export", run, "--to", f"{site}/", "--runtime", str(RUNTIME)]
        subprocess.run(export, check=True)
        host = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site))
        threading.Thread(target=host.serve_forever, daemon=True).start()
        assert service.stdout is not None
        address = service.stdout.readline().split()[0]
        with sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            for end, options in SHOTS.items():
                page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
                page.goto(address)
                draw(page)
                page.screenshot(path=IMAGES / f"page{end}.png", full_page=not end)
                page.goto(f"http://127.0.0.1:{host.server_port}/")
                draw(page, "#seen:visible")
                page.locator(".bar").first.wait_for()
                page.screenshot(path=IMAGES / f"web{end}.png", full_page=not end)
                if not end:
                    page.set_viewport_size({"width": 1180, "height": 1600})
                page.goto(report.as_uri())
                page.screenshot(path=IMAGES / f"report{end}.png")
            browser.close()
        host.shutdown()
        service.terminate()


if __name__ == "__main__":
    main(sys.argv[1])

"""The site of the docs is built strictly and without a network, and is read without one, and without a server."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import flaxcnn

ROOT = Path(__file__).parents[1]
WHY = "comes with the extra docs: `make docs` installs it, and CI does so before it tests"
for needed in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(needed, reason=f"{needed} {WHY}")
pytestmark = pytest.mark.slow

WITHOUT_NETWORK = """
import socket

def refuse(*_):
    raise AssertionError("the build asked for a network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}  # by the browser itself


class Read(HTMLParser):
    """What a page loads, what it links to, and what can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.linked, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag in LOADED and found.get(LOADED[tag]) and found.get("rel") not in ("next", "prev", "canonical"):
            self.loaded.append(found[LOADED[tag]])
        if tag == "a" and found.get("href"):
            self.linked.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-c", WITHOUT_NETWORK, "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """What is read of each page, by its path; that of the error 404 belongs to a server."""
    return {path: Read(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_each_doc_is_a_page(site):
    for doc in (ROOT / "docs").glob("*.md"):
        assert (site / f"{doc.stem}.html").exists(), doc.name


def test_a_page_loads_nothing_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert page.loaded
        for name in page.loaded:
            assert not re.match(r"(\w+:)?//", name), f"{path}: {name}"
            assert (path.parent / unquote(name)).exists(), f"{path}: {name}"
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(\w+:)?//", path.read_text(encoding="utf-8")), path


def test_each_link_leads_to_a_page_of_the_site_or_to_another_site(pages):
    for path, page in pages.items():
        for link in page.linked:
            name, _, heading = link.partition("#")
            if not re.match(r"\w+:", link):
                target = (path.parent / unquote(name)).resolve() if name else path
                assert target.exists(), f"{path}: {link}"
                if heading and target in pages:
                    assert unquote(heading) in pages[target].ids or heading.startswith("__"), f"{path}: {link}"


def test_a_link_to_a_file_of_the_repository_becomes_its_name(site):
    text = (site / "studies.html").read_text(encoding="utf-8")
    assert "<code>insects</code> (<code>configs/studies/insects.py</code>)" in text
    assert "../configs" not in text


def test_the_reference_has_each_public_name(pages):
    ids = set().union(*(page.ids for page in pages.values()))
    packages = (*flaxcnn._PACKAGES, "sweeps", "studies")
    for module in (flaxcnn, *(importlib.import_module(f"flaxcnn.{name}") for name in packages)):
        for name in getattr(module, "__all__", ("MODELS", "create", "contract_path")):  # of flaxcnn.models
            found = f"{module.__name__}.{name}"
            assert {found, f"{found}.{name}"} & ids, found


def test_the_notebook_is_a_page(site):
    text = (site / "mnist.html").read_text(encoding="utf-8")
    cells = json.loads((ROOT / "docs" / "mnist.ipynb").read_text(encoding="utf-8"))["cells"]
    assert text.count('<div class="highlight') == sum(cell["cell_type"] == "code" for cell in cells)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser, Debian's package chromium")
def test_a_browser_searches_the_files_without_a_server(site, tmp_path):
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    words += ["--virtual-time-budget=20000", "--dump-dom", f"{(site / 'index.html').as_uri()}?q=conformal"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert 'md-search-result__link" tabindex' in done.stdout
    assert "predict.html" in re.findall(r'href="[^"]*/([\w.]+)\?h=conformal', done.stdout)

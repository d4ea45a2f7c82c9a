"""Hooks of MkDocs (mkdocs.yml): pages that are written elsewhere, and links that lead out of docs/.

A page for each public module is made from its docstrings by mkdocstrings, one from the notebook, and one each from
CONTRIBUTING.md and CHANGELOG.md. A link to a file that is no page, such as ../configs/studies/insects.py, becomes the
file's name in the repository: the site does not know where the repository is kept.
"""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LOG = logging.getLogger("mkdocs.hooks.site_pages")  # a warning is an error of a strict build

API = {
    "flaxcnn": ("flaxcnn",),
    "config": ("flaxcnn.config",),
    "data": ("flaxcnn.data",),
    "tasks": ("flaxcnn.tasks",),
    "models": ("flaxcnn.models",),
    "layers": ("flaxcnn.layers", "flaxcnn.layers.convolution.convolution"),
    "contracts": ("flaxcnn.contracts",),
    "training": ("flaxcnn.training", "flaxcnn.training.planned.planned"),
    "evaluation": ("flaxcnn.evaluation",),
    "prediction": (
        "flaxcnn.prediction.loading.load",
        "flaxcnn.prediction.trained.Trained",
        "flaxcnn.prediction.abstaining.Abstention",
    ),
    "sweeps": ("flaxcnn.sweeps",),
    "studies": ("flaxcnn.studies",),
}
"""The pages of the reference, and what is on each; a function whose module has the same name is named by itself."""
ELSEWHERE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "mnist.md": "docs/mnist.ipynb"}
"""Pages that are made from a file: the page in the site, the file in the repository."""

_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"^(```(?s:.*?)^```|(?:    .*\n)+)", re.MULTILINE)  # in which brackets are not links


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written elsewhere."""
    for name, objects in API.items():
        files.append(File.generated(config, f"api/{name}.md", content=_reference(name, objects)))
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = as_page(json.loads(text)) if source.endswith(".ipynb") else text
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to a page of the site, or become a file's name."""
    name = page.file.src_uri
    folder = Path(ELSEWHERE.get(name, f"docs/{name}")).parent
    parts = _CODE.split(markdown)
    return "".join(part if part.startswith(("```", "    ")) else _with_links(part, folder, name) for part in parts)


def _reference(name: str, objects: tuple[str, ...]) -> str:
    """Return a page of the reference, for mkdocstrings to fill in."""
    title = "flaxcnn" if name == "flaxcnn" else f"flaxcnn.{name}"
    lines = [] if title in objects else [f"# {title}\n"]
    for each in objects:
        lines.append(f"::: {each}\n    options:\n      heading_level: {1 if each == title else 2}\n")
    return "\n".join(lines)


def as_page(notebook: dict[str, Any]) -> str:
    """Return a notebook's cells as Markdown."""
    cells = (("".join(cell["source"]), cell["cell_type"]) for cell in notebook["cells"])
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in cells) + "\n"


def _with_links(text: str, folder: Path, name: str) -> str:
    pages = {source: page for page, source in ELSEWHERE.items()}

    def replaced(link: re.Match[str]) -> str:
        shown, target, heading = link[1], link[2], link[3] or ""
        path = os.path.normpath(folder / target).replace(os.sep, "/")
        if path == "README.md":
            path = "docs/index.md"
        if not (ROOT / path).exists():
            LOG.warning("%s links to %s, which does not exist", name, target)
        elif path in pages or path.startswith("docs/"):
            page = pages.get(path, path.removeprefix("docs/"))
            return f"[{_title(path, heading) if shown == link[2] else shown}]({_to(page, name)}{heading})"
        return shown if shown.strip("`") == path else f"{shown} (`{path}`)"

    return _LINK.sub(replaced, text)


def _title(path: str, heading: str) -> str:
    """Return the title of a page or of its heading "#such-as-this", which says more in the site than a file's name."""
    titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): title for title in titles}
    return named.get(heading.removeprefix("#")) or (titles[0] if titles else Path(path).name)


def _to(page: str, name: str) -> str:
    """Return the link from a page to another, or to a file, both named from docs/."""
    return os.path.relpath(page, Path(name).parent).replace(os.sep, "/")

"""An extension of griffe, which reads docstrings for the site: examples in them are code (mkdocs.yml)."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> (?:.|\n(?!\n))*", re.MULTILINE)  # to the next empty line


class ExamplesAsCode(griffe.Extension):
    """Put the doctest examples of docstrings into blocks of code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)

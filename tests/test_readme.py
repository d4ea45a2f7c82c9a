"""What the README shows is what happens."""

import doctest
import re
from pathlib import Path

import flaxcnn

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_runs_as_printed():
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 5
    assert result.failed == 0


def test_the_library_example_is_at_most_25_lines():
    (example,) = re.findall(r"```pycon\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 25


def test_every_file_that_is_linked_or_laid_out_exists():
    text = README.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    laid_out = re.findall(r"^    ([\w./]+[/.]\w*) {2,}", text, re.MULTILINE)
    assert len(linked) > 3
    assert len(laid_out) > 8
    for name in (*linked, *laid_out):
        assert (README.parent / name).exists(), name


def test_every_public_name_can_be_imported():
    for name in flaxcnn.__all__:
        assert getattr(flaxcnn, name) is not None

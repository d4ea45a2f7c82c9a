"""What the README and the docs show is what happens."""

import dataclasses
import doctest
import re
from pathlib import Path

import pytest

import flaxcnn
from flaxcnn.config import Experiment
from flaxcnn.evaluation.table import LoggedRow

README = Path(__file__).parents[1] / "README.md"
DOCS = sorted((README.parent / "docs").glob("*.md"))
OPTIONS = {
    f"{section.name}.{field.name}"
    for section in dataclasses.fields(Experiment)
    for field in dataclasses.fields(getattr(Experiment(), section.name))
}


def doc(name):
    return (README.parent / "docs" / name).read_text(encoding="utf-8")


def test_the_library_example_runs_as_printed():
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 5
    assert result.failed == 0


@pytest.mark.parametrize(("name", "at_least"), [("training.md", 8), ("evaluation.md", 6)])
def test_the_examples_of_the_docs_run_as_printed(name, at_least):
    result = doctest.testfile(str(README.parent / "docs" / name), module_relative=False)
    assert result.attempted >= at_least
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


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_file_that_a_doc_links_to_exists(path):
    for name in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / name).exists(), name


@pytest.mark.parametrize("path", [README, *DOCS], ids=lambda path: path.name)
def test_every_option_that_is_named_exists(path):
    sections = "|".join(sorted({name.split(".")[0] for name in OPTIONS}))
    for name in re.findall(rf"(?:--|`)((?:{sections})\.\w+)\b(?!\()", path.read_text(encoding="utf-8")):
        assert name in OPTIONS, name


def test_every_part_of_a_recipe_is_described():
    described = doc("training.md") + doc("resume.md")
    for option in OPTIONS:
        section, name = option.split(".")
        if section in ("augmentation", "optimizer", "schedule", "training", "model", "checkpoint"):
            assert re.search(rf"[`.]{name}\b", described), option


def test_every_field_of_a_logged_row_is_described():
    for name in LoggedRow._fields:
        assert f"`{name}`" in doc("runs.md"), name


def test_every_public_name_can_be_imported():
    for name in flaxcnn.__all__:
        assert getattr(flaxcnn, name) is not None

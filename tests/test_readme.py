"""What the README and the docs show is what happens."""

import dataclasses
import doctest
import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import flaxcnn
from benchmarks import report
from flaxcnn.cli import COMMANDS, main
from flaxcnn.config import Experiment, Task
from flaxcnn.evaluation.table import LoggedRow, measured_columns
from flaxcnn.models import MODELS, contract_path
from flaxcnn.models.figures import MULTIPLY_ADDS
from flaxcnn.tasks import TASKS, create_task

README = Path(__file__).parents[1] / "README.md"
DOCS = sorted((README.parent / "docs").glob("*.md"))
PAGES = [README, README.parent / "CHANGELOG.md", README.parent / "CONTRIBUTING.md", *DOCS]
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


@pytest.mark.parametrize(
    ("name", "at_least"),
    [("data.md", 15), ("training.md", 8), ("evaluation.md", 6), ("tasks.md", 8), ("inside.md", 15)],
)
def test_the_examples_of_the_docs_run_as_printed(name, at_least):
    result = doctest.testfile(str(README.parent / "docs" / name), module_relative=False)
    assert result.attempted >= at_least
    assert result.failed == 0


@pytest.mark.slow
def test_the_python_blocks_of_the_library_page_run_in_order_in_an_empty_folder(tmp_path, command_environment):
    blocks = re.findall(r"^```python\n(.*?)^```", doc("library.md"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    words = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(words, cwd=tmp_path, env=command_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_library_example_is_at_most_25_lines():
    (example,) = re.findall(r"```pycon\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 25


def test_the_readme_says_how_the_command_is_found_before_it_uses_it():
    text = README.read_text(encoding="utf-8")
    assert 0 < text.index("`. .venv/bin/activate`") < text.index("\n    flaxcnn ")


def test_every_file_that_is_linked_or_laid_out_exists():
    text = README.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    laid_out = re.findall(r"^    ([\w./]+[/.]\w*) {2,}", text, re.MULTILINE)
    assert len(linked) > 3
    assert len(laid_out) > 8
    for name in (*linked, *laid_out):
        assert (README.parent / name).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_doc_links_to_exists(path):
    for name in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / name).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_heading_that_is_linked_exists(path):
    for name, heading in re.findall(r"\]\((?!\w+:)([^)#]*)#([^)]+)\)", path.read_text(encoding="utf-8")):
        text = (path.parent / name).read_text(encoding="utf-8") if name else path.read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_option_that_is_named_exists(path):
    sections = "|".join(sorted({name.split(".")[0] for name in OPTIONS}))
    for name in re.findall(rf"(?:--|`)((?:{sections})\.\w+)\b(?!\()", path.read_text(encoding="utf-8")):
        assert name.replace(".no_", ".") in OPTIONS, name  # a switch that is off


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_that_is_shown_has_the_options_that_it_is_given(path, capsys):
    @functools.cache
    def options_of(command):
        with pytest.raises(SystemExit) as exit_:
            main([command, "--help"])
        assert exit_.value.code == 0
        return set(re.findall(r"--[\w.]+", capsys.readouterr().out))

    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for command, rest in re.findall(r"\bflaxcnn (train|sweep|[a-z-]+)\b((?: +[^\s`#;,)]+)*)", text):
        if command in COMMANDS:
            for option in re.findall(r"(?<!\S)--([\w.-]+)(?:=\S*)?(?!\S)", rest):
                assert f"--{option.replace('-', '_')}" in options_of(command), f"{command} --{option}"


def test_the_recipe_as_a_file_is_the_recipe_of_the_command():
    text = doc("training.md").replace("\\\n", " ")
    command = shlex.split(re.search(r"^    flaxcnn train (.*)$", text, re.MULTILINE)[1])
    shown = dict(zip((word.removeprefix("--") for word in command[::2]), command[1::2], strict=True))
    names: dict[str, Experiment] = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    for option in OPTIONS:
        section, name = option.split(".")
        in_file, default = (getattr(getattr(each, section), name) for each in (names["experiment"], Experiment()))
        if option in shown:
            assert in_file == type(in_file)(shown[option]), option
        else:
            assert in_file == default, option


def test_the_tables_of_speed_are_those_of_the_figures_beside_them():
    figures = json.loads((README.parent / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    tables = report.as_markdown(figures, report.summarize(figures), "images/benchmarks.png")
    assert report.with_tables(doc("performance.md"), tables) == doc("performance.md")


def test_every_model_is_listed_with_its_figures():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,.]+) \| (\S+) \| (\d+) \|", doc("models.md"), re.M)
    listed = {name: figures for name, *figures in rows}
    assert listed.keys() == MODELS.keys()
    for name, (parameters, classes, cost, image, smallest) in listed.items():
        variant, millions = MODELS[name], MULTIPLY_ADDS[name] / 1e6
        assert (parameters, classes) == (f"{variant.parameters:,}", f"{variant.classes:,}"), name
        assert cost == f"{millions:,.{0 if millions >= 10 else 1}f}", name
        assert (image, int(smallest)) == ("×".join(map(str, variant.size)), variant.smallest), name


def test_the_small_models_are_listed_with_their_number_of_parameters():
    (section,) = re.findall(r"^## Model\n(.*?)^## ", doc("training.md"), re.MULTILINE | re.DOTALL)
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", section, re.MULTILINE))
    assert listed
    for name, parameters in listed.items():
        assert f" {parameters} parameters with K = 10" in contract_path(name).read_text(encoding="utf-8"), name


def test_every_part_of_a_recipe_is_described():
    described = doc("training.md") + doc("resume.md")
    for option in OPTIONS:
        section, name = option.split(".")
        if section in ("augmentation", "optimizer", "schedule", "training", "model", "checkpoint"):
            assert re.search(rf"[`.]{name}\b", described), option


def test_every_field_of_a_logged_row_is_described():
    heads = {"several": ("species=classification",)}
    logged = [name for task in TASKS for name in create_task(Task(task, heads=heads.get(task, ()))).logged]
    measured = measured_columns(logged, tested=True, validated=True)
    for name in [*(each for each in LoggedRow._fields if each != "measured"), *measured]:
        assert f"`{name}`" in doc("runs.md"), name


def test_every_public_name_can_be_imported():
    for name in flaxcnn.__all__:
        assert getattr(flaxcnn, name) is not None

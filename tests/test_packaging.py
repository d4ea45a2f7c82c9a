"""The pins, the bounds that they prove, and the scripts that make an environment."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LINES = ("311", "312", "313")
BROUGHT = ("test", "tensorboard", "sweep", "postgresql", "ray", "video", "study", "serve")  # by `test`


def requirements(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for: the core, these extras and the build backend, without the package's own extras."""
    lines = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
    for extra in extras:
        lines = lines + EXTRAS[extra]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "flaxcnn"]


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


@pytest.mark.parametrize("line", LINES)
def test_pins_hold_all_that_the_project_asks_for_within_its_bounds(line):
    pinned = pins(f"py{line}")
    for requirement in requirements(*BROUGHT, "lint", "docs", "onednn"):
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)


@pytest.mark.skipif(f"{sys.version_info.major}{sys.version_info.minor}" not in LINES, reason="no pins for this Python")
def test_pins_hold_every_package_that_comes_along():
    pinned = pins(f"py{sys.version_info.major}{sys.version_info.minor}")
    waiting = requirements(*BROUGHT)
    seen = set()
    while waiting:
        requirement = waiting.pop()
        for extra in requirement.extras or {""}:
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            if (name, extra) in seen or name == "hatchling":  # the backend need not be installed where tests run
                continue
            seen.add((name, extra))
            assert name in pinned
            waiting += [
                Requirement(str(needed))
                for needed in map(Requirement, metadata.requires(name) or [])
                if needed.marker is None or needed.marker.evaluate({"extra": extra})
            ]
    assert len(seen) > 50


def test_the_lowest_versions_are_the_bounds_that_the_project_declares():
    lowest = pins("lowest")
    for requirement in requirements(*BROUGHT, "onednn"):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert lowest[canonicalize_name(requirement.name)] == Version(bound.version), str(requirement)


@pytest.mark.parametrize("name", ["lowest", *(f"py{line}" for line in LINES)])
def test_the_headers_of_onednn_are_those_of_the_library(name):
    assert pins(name)["onednn-devel-cpu-gomp"] == pins(name)["onednn-cpu-gomp"]


def test_pins_name_no_index_no_path_and_no_range():
    for file in (ROOT / "constraints").glob("*.txt"):
        first, *lines = file.read_text().splitlines()
        assert first.startswith("# Python 3.")
        for line in lines:
            assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line), f"{file.name}: {line}"


@pytest.fixture
def find_python(tmp_path):
    """Run scripts/find_python.sh where no Python is on PATH but those that the test puts there."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in ("sh", "ls", "sed", "sort", "head", "dirname"):
        (bin_folder / tool).symlink_to(shutil.which(tool))

    def put(name: str, line: str, *, works: bool = True, ensurepip: bool = True) -> Path:
        program = bin_folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            "#!/bin/sh\n"
            f"{'' if works else 'exit 127'}\n"
            f'case "$2" in *ensurepip*) exit {0 if ensurepip else 1} ;; *) echo "{line} {program}" ;; esac\n'
        )
        program.chmod(0o755)
        return program

    def run(*lines: str, python: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(ROOT / "scripts" / "find_python.sh"), *lines],
            env={"PATH": str(bin_folder), "HOME": str(tmp_path), "PYTHON": python},
            capture_output=True,
            text=True,
            timeout=30,
        )

    run.put = put
    return run


def test_the_newest_python_that_has_pins_is_found(find_python):
    find_python.put("python3.11", "3.11")
    newest = find_python.put("python3.13", "3.13")
    find_python.put("python3.12", "3.12")
    assert find_python().stdout == f"3.13 {newest}\n"


def test_a_shim_that_does_not_run_and_a_python_without_ensurepip_are_passed_over(find_python):
    find_python.put("python3.13", "3.13", works=False)
    find_python.put("python3.12", "3.12", ensurepip=False)
    oldest = find_python.put("python3.11", "3.11")
    assert find_python().stdout == f"3.11 {oldest}\n"


def test_a_python_of_pyenv_is_found_that_is_not_on_the_path(find_python):
    find_python.put("python3", "3.11")
    pyenv = find_python.put("../.pyenv/versions/3.12.1/bin/python3.12", "3.12")
    assert Path(find_python().stdout.split()[1]).resolve() == pyenv.resolve()


def test_a_plain_python3_serves_where_it_is_new_enough_even_newer_than_the_pins(find_python):
    program = find_python.put("python3", "3.14")
    assert find_python().stdout == f"3.14 {program}\n"
    find_python.put("python3", "3.9")
    assert find_python().returncode == 2


def test_only_the_lines_asked_for_are_looked_at(find_python):
    find_python.put("python3.13", "3.13")
    older = find_python.put("python3.11", "3.11")
    assert find_python("3.11").stdout == f"3.11 {older}\n"
    assert find_python("3.12").returncode == 2


def test_no_python_is_one_line_that_says_what_is_needed(find_python):
    find_python.put("python3", "3.10")
    result = find_python()
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: no Python 3.11 or newer found")
    assert result.stderr.count("\n") == 1


def test_a_python_that_lacks_ensurepip_is_one_line_that_names_debians_package(find_python):
    find_python.put("python3.11", "3.11", ensurepip=False)
    result = find_python()
    assert result.returncode == 2
    assert "apt-get install python3.11-venv" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "says"), [("3.10", "is Python 3.10; 3.11 or newer is needed"), (None, "does not run")]
)
def test_a_python_that_was_named_is_taken_or_refused_but_not_replaced(find_python, line, says):
    find_python.put("python3.13", "3.13")
    named = str(find_python.put("mine", line) if line else "/nowhere/python")
    result = find_python(python=named)
    assert result.returncode == 2
    assert f"PYTHON={named} {says}" in result.stderr
    chosen = find_python.put("other", "3.11")
    assert find_python(python=str(chosen)).stdout == f"3.11 {chosen}\n"


def test_an_extra_that_there_is_not_is_refused_before_anything_is_made(tmp_path):
    result = subprocess.run(
        ["sh", str(ROOT / "scripts" / "environment.sh"), str(tmp_path / "made"), "test", "gpu"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stderr == f"error: no extra 'gpu'; known: {', '.join(EXTRAS)}\n"
    assert not (tmp_path / "made").exists()


def test_the_source_distribution_holds_what_its_readme_names():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    readme = (ROOT / "README.md").read_text()
    assert "    make train" in readme
    files = re.findall(r"\]\((?:(docs|configs|tests)/|([A-Z]+\.\w+)\))", readme)
    for path in {"Makefile", "mkdocs.yml", "constraints", "scripts", *(folder or file for folder, file in files)}:
        assert f"/{path}" in included


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what version 1.2.0 requires


def test_a_folder_that_make_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    result = subprocess.run(
        ["sh", str(ROOT / "scripts" / "environment.sh"), str(tmp_path)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "was not made by make" in result.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"

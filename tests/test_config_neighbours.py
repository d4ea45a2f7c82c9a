"""A config file may import what stands beside it, and leaves no trace of that."""

import subprocess
import sys

import pytest

from flaxcnn.config import load_experiment
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps import load_sweep_file

CONFIG = """
from flaxcnn.config import Experiment, Training
from common import STEPS

experiment = Experiment(training=Training(steps=STEPS))
"""


@pytest.fixture
def folder(tmp_path):
    """Make a folder with a config `mine.py` and files beside it: `folder("a", {"common.py": "STEPS = 3"})`."""

    def make(name, files, config=CONFIG):
        for file, text in {"mine.py": config, **files}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / name / "mine.py")

    return make


@pytest.fixture(autouse=True)
def nothing_stays():
    before = sys.path[:], sys.meta_path[:], {**sys.modules}
    yield
    assert (sys.path, sys.meta_path) == before[:2]
    assert {name: sys.modules.get(name) for name in before[2]} == before[2]
    assert not {"common", "shared", "shared.base"} & (set(sys.modules) - set(before[2]))


def steps(path):
    return load_experiment(path).experiment.training.steps


def test_a_module_beside_a_config_is_imported(folder):
    assert steps(folder("a", {"common.py": "STEPS = 3"})) == 3
    assert load_sweep_file(folder("b", {"common.py": "STEPS = 4"})).experiment.training.steps == 4


def test_neighbours_of_the_same_name_do_not_mix(folder):
    a, b = folder("a", {"common.py": "STEPS = 3"}), folder("b", {"common.py": "STEPS = 4"})
    assert [steps(path) for path in (a, b, a)] == [3, 4, 3]


def test_a_neighbour_that_was_changed_is_read_again(folder):
    assert steps(folder("a", {"common.py": "STEPS = 3"})) == 3
    assert steps(folder("a", {"common.py": "STEPS = 3 + 1"})) == 4


@pytest.mark.parametrize("init", [{}, {"shared/__init__.py": ""}], ids=["without __init__", "with __init__"])
def test_a_package_beside_a_config_is_imported_with_what_it_imports_itself(init, folder):
    files = {"shared/base.py": "import common\nSTEPS = common.STEPS + 1", "common.py": "STEPS = 3", **init}
    assert steps(folder("a", files, CONFIG.replace("common", "shared.base"))) == 4


def test_a_module_that_python_knows_from_elsewhere_is_not_taken_for_the_neighbour_and_stays(folder, monkeypatch):
    other = type(sys)("common")
    other.STEPS = 9
    monkeypatch.setitem(sys.modules, "common", other)
    assert steps(folder("a", {"common.py": "STEPS = 3"})) == 3
    assert sys.modules["common"] is other


@pytest.mark.parametrize("name", ["random", "optuna", "flaxcnn", "numpy"])
def test_a_config_or_its_neighbour_with_a_librarys_name_is_not_taken_for_the_library(name, folder, tmp_path):
    """A config may be called as a library is; of its neighbours those that are called as Python's own modules."""
    path = folder(
        "a",
        {},
        "import random, numpy\nfrom flaxcnn.config import *\nexperiment = Experiment()\nrandom.random, numpy.int8",
    )
    named = tmp_path / "a" / f"{name}.py"
    named.write_text((tmp_path / "a" / "mine.py").read_text())
    assert load_experiment(str(named)).name == name
    if name in ("random", "flaxcnn"):
        assert load_experiment(path).name == "mine"


def test_a_folder_that_is_no_package_does_not_hide_a_library(folder):
    path = folder(
        "a",
        {"numpy/readme.txt": ""},
        "import numpy\nfrom flaxcnn.config import *\nexperiment = Experiment()\nnumpy.int8",
    )
    assert load_experiment(path).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("STEPS = 1\nSTEPS = 1 / 0", "common.py: line 2: ZeroDivisionError: division by zero. Correct the file, which"),
        ("STEPS =", "common.py: line 1: SyntaxError"),
        ("STEPZ = 3", "mine.py: line 3: ImportError: cannot import name 'STEPS'"),
        ("STEPS = 'many'", "mine.py: in this config file: training.steps: wrong type"),
    ],
)
def test_an_error_names_the_file_in_which_it_is(text, message, folder, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_experiment(folder("a", {"common.py": text}))
    assert str(caught.value).startswith(f"{tmp_path / 'a'}/{message}")


def test_a_neighbour_that_is_missing_is_named(folder):
    with pytest.raises(ConfigError, match=r"mine\.py: line 3: ModuleNotFoundError: No module named 'common'"):
        load_experiment(folder("a", {}))


def test_a_config_named_by_a_relative_path_or_a_link_has_the_neighbours_of_the_file(folder, tmp_path, monkeypatch):
    folder("a", {"common.py": "STEPS = 3"})
    (tmp_path / "link.py").symlink_to("a/mine.py")
    monkeypatch.chdir(tmp_path)
    assert (steps("a/mine.py"), steps("link.py")) == (3, 3)
    monkeypatch.chdir(tmp_path / "a")
    assert steps("mine.py") == 3


def test_neither_the_current_folder_nor_the_program_s_has_a_neighbour_before_the_config_s(
    folder, command_environment, tmp_path
):
    path = folder("a", {"common.py": "STEPS = -3"})
    (tmp_path / "common.py").write_text("STEPS = -4")
    done = subprocess.run(
        [sys.executable, "-m", "flaxcnn", "train", path],
        env=command_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "training.steps: out of range; expected at least 1, found -3" in done.stderr

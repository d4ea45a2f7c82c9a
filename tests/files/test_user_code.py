"""A user's own code by `FILE.py:NAME`: loaded once, known by its digest, and wrong in one line."""

import hashlib
import pickle
import sys

import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.files.user_code import is_outside, load_outside

SOURCE = """\
from user_code_parts import SIZE

class Thing:
    size = SIZE

small = Thing()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "user_code_file.py").write_text(SOURCE)
    (tmp_path / "user_code_parts.py").write_text("SIZE = 4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(name, **options):
    with pytest.raises(ConfigError) as caught:
        load_outside(name, "model.name", **options)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["a.py:B", "./a.py:B", "/x/a.py:B", "a.py:", "c:/a.py:B"])
def test_a_file_with_a_name_is_outside(name):
    assert is_outside(name)


@pytest.mark.parametrize("name", ["paper_cnn", "a.py", "a:B", "idx:a.py", "idx:a.py/b", "idx:a.py:b", "", "a.py:b/c"])
def test_anything_else_is_not(name):
    assert not is_outside(name)


def test_the_digest_is_of_the_file_and_of_the_modules_beside_it_that_it_imports(folder):
    (folder / "unused.py").write_text("SIZE = 5\n")
    own, parts = (
        hashlib.sha256((folder / f"user_code_{name}.py").read_bytes()).hexdigest() for name in ("file", "parts")
    )
    expected = hashlib.sha256(f"{own}\n{parts}  user_code_parts.py".encode()).hexdigest()
    assert load_outside("user_code_file.py:Thing", "x").digest == expected


def test_the_digest_depends_on_neither_the_folder_nor_the_files_name(folder):
    before = load_outside("user_code_file.py:Thing", "x").digest
    (folder / "moved").mkdir()
    (folder / "user_code_file.py").rename(folder / "moved" / "renamed_file.py")
    (folder / "user_code_parts.py").rename(folder / "moved" / "user_code_parts.py")
    assert load_outside("moved/renamed_file.py:Thing", "x").digest == before


def test_a_name_gives_the_same_object_until_a_file_changes(folder):
    first = load_outside("user_code_file.py:Thing", "x")
    assert load_outside("./user_code_file.py:Thing", "x").object is first.object
    assert first.object.size == 4
    (folder / "user_code_parts.py").write_text("SIZE = 5\n")
    second = load_outside("user_code_file.py:Thing", "x")
    assert second.object.size == 5
    assert second.digest != first.digest


def test_an_object_of_its_classes_can_be_pickled_and_its_neighbours_are_forgotten(folder):
    found = load_outside("user_code_file.py:small", "x").object
    assert type(pickle.loads(pickle.dumps(found))) is type(found)
    assert "user_code_parts" not in sys.modules
    assert str(folder) not in sys.path


def test_a_file_with_the_name_of_a_library_does_not_take_its_place(folder):
    (folder / "optax.py").write_text("net = 3\n")
    assert load_outside("optax.py:net", "x").object == 3
    assert "optax" not in sys.modules or sys.modules["optax"].__file__ != str(folder / "optax.py")


def test_two_files_of_one_name_do_not_mix(folder):
    (folder / "other").mkdir()
    (folder / "other" / "user_code_file.py").write_text("class Thing:\n    size = 7\n")
    here, there = (load_outside(f"{each}user_code_file.py:Thing", "x").object for each in ("", "other/"))
    assert (here.size, there.size) == (4, 7)
    assert here.__module__ != there.__module__


def test_what_cannot_be_loaded_says_why_in_one_line(folder):
    assert str(refused("missing.py:Thing").where) == "missing.py"
    assert refused("user_code_file.py:").expected == "FILE.py:NAME"
    unknown = refused("user_code_file.py:Thin")
    assert (str(unknown.where), unknown.fix) == ("user_code_file.py", "did you mean 'Thing'?")
    kind = refused("user_code_file.py:small", fits=lambda each: isinstance(each, type), expected="a class")
    assert (kind.expected, kind.found, kind.where) == ("a class", "a Thing", "user_code_file.py:small")
    refused("a" * 5000 + ".py:Thing")


@pytest.mark.parametrize(
    ("file", "source", "what"),
    [
        ("user_code_file.py", "import os\n1 / 0\n", "line 2: ZeroDivisionError: "),
        ("user_code_file.py", "x = 1\ndef f(:\n", "line 2: SyntaxError: "),
        ("user_code_file.py", "import no_such_library\n", "line 1: ModuleNotFoundError: "),
        ("user_code_file.py", "import sys\nsys.exit('no')\n", "line 2: SystemExit: "),
        ("user_code_parts.py", "\n\nraise ValueError('no')\n", "line 3: ValueError: "),
    ],
)
def test_a_file_that_fails_to_run_names_the_file_and_the_line(folder, file, source, what):
    (folder / file).write_text(source)
    known = set(sys.modules)
    error = refused("user_code_file.py:Thing")
    assert error.where == folder / file
    assert error.what.startswith(what)
    assert not [name for name in set(sys.modules) - known if "user_code" in name]

"""Paths that cannot be, through the real commands: one line on stderr, exit code 2, nothing written."""

import errno
import json
import os
import subprocess
import sys

import pytest

from flaxcnn.cli import COMMANDS
from flaxcnn.command_line import flags_of
from flaxcnn.config import Data, Experiment, with_data
from flaxcnn.errors import ConfigError, RunFolderError
from flaxcnn.files import cannot_write, user_path
from tests.many_commands import answers

# One process that runs many commands: each is as slow to import as the others.
TAKE_A_PATH = [
    ("train", "{}"),
    ("train", "--data.source", "idx:SMALL", "--out", "{}"),
    ("train", "--data.source", "idx:{}"),
    ("train", "--batch_size", "auto", "--data.source", "idx:{}"),
    ("resume", "{}"),
    ("evaluate", "{}"),
    ("compare", "{}", "{}"),
    ("replay", "{}"),
    ("reproduce", "{}"),
    ("sweep", "{}"),
    ("sweep", "--search", "{}"),
    ("sweep", "mnist_lr", "--data.source", "idx:SMALL", "--out", "{}"),
    ("lr-find", "{}"),
    ("lr-find", "--data.source", "idx:SMALL", "--out", "{}/x.png"),
    ("data", "idx:{}"),
    ("data", "{}/x"),
    ("data", "idx:SMALL", "--no_duplicates", "--out", "{}/x.png"),
    ("data", "coco:{}", "--to", "voc", "--out", "converted"),
    ("data", "voc:SMALL", "--to", "coco", "--out", "{}/x"),
    ("contract", "{}/x.py:Net"),
    ("contract", "--write", "{}"),
    ("contract", "--check", "{}"),
    ("contract", "--update", "{}"),
]

UNUSABLE = [
    "~nosuchuser/x",  # of a user who is not there
    "x" * 300,
    "x/" * 3000,
    "file/x",  # through a file
    "loop/x",  # through a link to itself
]


@pytest.mark.slow
def test_a_path_that_cannot_be_is_one_line_in_every_command(command_environment, small_mnist, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "loop").symlink_to("loop")
    commands = [
        [word.replace("{}", path).replace("SMALL", str(small_mnist)) for word in words]
        for path in UNUSABLE
        for words in TAKE_A_PATH
    ]
    found = answers(command_environment, tmp_path, commands)
    assert len(found) == len(commands)
    for each in found:
        assert each["code"] == 2, each
        assert each["said"].startswith("flaxcnn: "), each
        assert each["said"].count("\n") == 1, each
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]
    assert (tmp_path / "file").read_text() == "precious"


def test_an_empty_path_is_not_the_current_folder(command_environment, small_mnist, tmp_path):
    commands = [
        [word.replace("{}", "").replace("SMALL", str(small_mnist)) for word in words]
        for words in TAKE_A_PATH
        if all("{}" not in word or word == "{}" for word in words)
    ]
    commands += [["train", "--data.source", ""], ["train", "--data.dir="], ["data", "tfds:mnist", "--data.dir", ""]]
    for each in answers(command_environment, tmp_path, commands):
        assert (each["code"], each["said"].count("\n")) == (2, 1), each
        assert "empty path" in each["said"], each
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "words", [("train", "--out"), ("resume",), ("data",), ("--verison",), ("train", "--model.name")]
)
def test_bytes_that_are_no_text_are_one_line_wherever_they_stand(words, command_environment, tmp_path):
    words = [sys.executable, "-m", "flaxcnn", *words, b"bad\xff"]
    done = subprocess.run(words, env=command_environment, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"bad\\udcff: " in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Data(source="idx:a\0b"), r"data.source: a path cannot hold a null byte; found 'idx:a\x00b'"),
        (lambda: Data(dir="a\0b"), "data.dir: a path cannot hold a null byte"),
        (lambda: Data(source="idx:\ud800"), r"data.source: a path cannot hold half a character; found 'idx:\ud800'"),
        (lambda: Data(dir=""), "data.dir: an empty path"),
        (lambda: with_data(Experiment(), source=""), "data.source: an empty path"),
        (lambda: with_data(Experiment(), folder="~nosuchuser"), "data.dir: no home folder is known for this user"),
        (lambda: user_path("a\0b", "--out"), "--out: a path cannot hold a null byte"),
    ],
)
def test_what_is_no_path_is_refused_wherever_it_comes_from(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def test_a_recorded_path_that_cannot_be_is_one_line(command_environment, tmp_path):
    commands = []
    for number, field in enumerate(({"source": "idx:a\0b"}, {"dir": "a\0b"}, {"source": "idx:\ud800"}, {"dir": ""})):
        run = tmp_path / f"run-{number}"
        run.mkdir()
        config = {"name": "mine", "published": [], "changes": [], "data": field}
        (run / "config.json").write_text(json.dumps(config))
        commands.append(["resume", str(run)])
    for each in answers(command_environment, tmp_path, commands):
        assert (each["code"], each["said"].count("\n")) == (2, 1), each
        assert " path" in each["said"] or "half of a character" in each["said"], each  # the JSON reader refuses it


def test_a_home_folder_is_found_by_its_users_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs", "--out") == tmp_path / "runs"
    assert user_path("runs/~x", "--out").parts == ("runs", "~x")


@pytest.mark.parametrize(
    ("number", "of_train", "of_resume"),
    [
        (
            errno.EROFS,
            "Name a folder that you may write to with --out",
            "Copy the run to a folder that you may write to and resume the copy",
        ),
        (
            errno.ENOSPC,
            "Make space, or name a folder on another disk with --out",
            "Make space, or copy the run to a folder on another disk and resume the copy",
        ),
        (errno.EIO, "Name another folder with --out", "Copy the run to another folder and resume the copy"),
    ],
)
def test_the_advice_where_to_write_instead_is_what_the_command_can_do(number, of_train, of_resume, tmp_path):
    error = cannot_write(tmp_path, OSError(number, os.strerror(number)))
    assert isinstance(error, RunFolderError)
    for command, advice in (("train", of_train), ("resume", of_resume)):
        assert error.line(COMMANDS[command].elsewhere) == (f"{tmp_path}: cannot write: {os.strerror(number)}. {advice}")


def test_the_commands_whose_advice_names_an_option_have_it():
    for name, command in COMMANDS.items():
        assert "--out" not in command.elsewhere or "out" in flags_of(command.options), name

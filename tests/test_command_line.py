"""Options become typed data, and every mistake one line that names the option."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from tyro.conf import Positional, arg

from flaxcnn.cli.training import TrainOptions
from flaxcnn.command_line import flags_of, parse, short_flags
from flaxcnn.errors import ConfigError
from tests.error_fields import fields


@dataclass(frozen=True)
class Section:
    rate: float = 0.5
    count: int | None = None
    loud: bool = False


@dataclass(frozen=True)
class Whole:
    section: Section = field(default_factory=Section)


@dataclass(frozen=True)
class Options:
    word: Positional[str] = "default"
    whole: Annotated[Whole, arg(name="")] = field(default_factory=Whole)
    out: str | None = None


def test_every_field_has_an_option():
    assert set(flags_of(Options)) == {"section.rate", "section.count", "section.loud", "section.no_loud", "out"}


def test_options_words_and_defaults_are_read():
    found = parse(Options, ["first", "--section.rate", "1e-3", "--section.count=7", "--section.loud"], program="x")
    assert found == Options("first", Whole(Section(0.001, 7, True)))
    default = Options("other", Whole(Section(2.0)), "there")
    assert parse(Options, ["--section.no-loud"], program="x", default=default) == default


def test_an_option_has_a_short_form_where_no_other_has_its_name():
    found = parse(TrainOptions, ["--model", "small_cnn", "--task=a.py:B=c", "--data", "c.py:d"], program="x")
    chosen = found.experiment
    assert (chosen.model.name, chosen.task.name, chosen.data.source) == ("small_cnn", "a.py:B=c", "c.py:d")
    assert short_flags(flags_of(TrainOptions)) == {"task": "task.name", "model": "model.name", "data": "data.source"}
    assert short_flags({"model.name": str, "model": str}) == {}
    with pytest.raises(ConfigError) as caught:
        parse(Options, ["--model", "small_cnn"], program="x")
    assert caught.value.where == "--model"


@pytest.mark.parametrize(
    ("arguments", "told", "fix"),
    [
        (["--section.rat", "1"], ("--section.rat", None, None), "'--section.rate'"),
        (
            ["--section.wrong", "1"],
            ("--section.wrong", None, None),
            "--section.count, --section.loud, --section.no_loud, --section.rate",
        ),
        (["--section.rat=1"], ("--section.rat", None, None), "'--section.rate'"),
        (["--section.rate", "fast"], ("--section.rate", "a number", "'fast'"), ""),
        (["--section.count", "1.5"], ("--section.count", "a whole number or None", "'1.5'"), ""),
        (["first", "--out", "a", "--section.rate"], ("--section.rate", "a number", "nothing"), ""),
        (["-o", "x"], ("-o", None, None), "x --help"),
        (["first", "second"], ("second", None, None), "x --help"),
        (["--section.loud", "--section.rate", "1", "2", "3"], ("3", None, None), "x --help"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_option(arguments, told, fix, capsys):
    with pytest.raises(ConfigError) as caught:
        parse(Options, arguments, program="x")
    assert fields(caught.value) == told
    assert fix in caught.value.fix
    assert capsys.readouterr() == ("", "")


def test_a_missing_word_is_said():
    @dataclass(frozen=True)
    class Needs:
        word: Positional[str]

    with pytest.raises(ConfigError) as caught:
        parse(Needs, [], program="flaxcnn evaluate")
    assert caught.value.where == "flaxcnn evaluate"
    assert "WORD" in caught.value.what
    assert "flaxcnn evaluate --help" in caught.value.fix


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [([], "FIRST"), (["a"], "SECOND"), (["--out", "b", "a"], "SECOND"), (["a", "--out", "b"], "SECOND")],
)
def test_of_two_words_the_one_that_is_missing_is_named(arguments, missing):
    @dataclass(frozen=True)
    class Needs:
        first: Positional[str]
        second: Positional[str]
        section: Section = field(default_factory=Section)
        out: str | None = None

    with pytest.raises(ConfigError, match=f"^x: {missing} is missing"):
        parse(Needs, arguments, program="x")


def test_help_spells_options_as_the_fields_are(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Options, ["--section.rate", "nonsense", "--help"], program="x")
    assert caught.value.code == 0
    assert "--section.no_loud" in capsys.readouterr().out

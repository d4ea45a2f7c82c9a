"""Sweep folders that came from a stranger: whatever stands in them, the command ends with a line of ours, no code."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from flaxcnn.cli import main
from tests.sweeps.conftest import HEAD

pytestmark = pytest.mark.sweeps

DEEP = "[" * 100_000
PLANS = [DEEP, "3", '[{"do": "rm"}]', '[{"do": "stop", "trial": 99}]', '[{"do": "add", "trial": 9}]']
IDENTITIES = [DEEP, "[]", "{}", '{"name": 3, "experiment": {}}', '{"name": "x", "experiment": {"data": 3}}']
SWEEP = """
experiment = dataclasses.replace(experiment, training=Training(steps=4), logging=Logging(every=3, test_examples=0))
space = {"optimizer.learning_rate": Float(1e-4, 1e-2, log=True), "optimizer.name": Choice("adam", "lion")}
sweep = Sweep(space=space, trials=2)
"""


@pytest.fixture(scope="module")
def swept(small_mnist, tmp_path_factory):
    """The file and the folder of a real sweep that is done."""
    root = tmp_path_factory.mktemp("swept")
    (root / "search.py").write_text("import dataclasses\n" + HEAD.format(data=small_mnist, epochs=1) + SWEEP)
    assert main(["sweep", str(root / "search.py"), "--out", str(root / "sweep"), "--executor", "map"]) == 0
    with closing(sqlite3.connect(root / "sweep/study.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


@pytest.fixture
def copy(swept, tmp_path):
    """A copy of the sweep's folder, to be tampered with."""
    return shutil.copytree(swept / "sweep", tmp_path / "sweep")


@pytest.fixture
def refused(swept, copy, capsys):
    """Go on with the sweep, which has to be refused, and return the line that says so."""

    def run():
        before = (copy / "best.py").read_text()
        assert main(["sweep", str(swept / "search.py"), "--out", str(copy), "--executor", "map"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.rstrip("\n").isprintable()
        assert (copy / "best.py").read_text() == before
        return said

    return run


def execute(folder, statement, *values):
    with closing(sqlite3.connect(folder / "study.db")) as database:
        assert database.execute(statement, values).rowcount
        database.commit()


def set_progress(folder, **changes):
    with closing(sqlite3.connect(folder / "study.db")) as database:
        (text,) = database.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'progress'").fetchone()
    execute(folder, "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'progress'", text_of(text, changes))


def text_of(text, changes):
    return json.dumps({**json.loads(text), **changes})


# --- attributes


@pytest.mark.parametrize("key", ["progress", "origin"])
@pytest.mark.parametrize("text", [DEEP, "{", "null", "[]", "3", '"text"', "{}", "NaN", '{"a": ' * 100_000])
def test_an_attribute_of_another_form_is_named(copy, refused, key, text):
    execute(copy, "UPDATE trial_user_attributes SET value_json = ? WHERE key = ?", text, key)
    said = refused()
    assert "the study is damaged" in said or f"trial 0, {key}: damaged" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": ["high"]}, "progress: damaged at scores[0]; expected a number, found 'high'"),
        ({"scores": [None]}, "progress: damaged at scores[0]; expected a number, found null"),
        ({"scores": [10**400]}, "progress: damaged at scores[0]; expected a number, found one too large"),
        ({"scores": []}, "expected a score of a trial that is complete"),
        ({"scores": [0.5] * 3}, "expected a score for each rung that it ended"),
        ({"status": "won"}, "progress: damaged at status; expected 'waiting' or"),
        ({"status": "running"}, "expected an owner"),
        ({"status": "running", "owner": "me", "scores": []}, "expected the owner of a running trial, found me"),
        ({"status": "running", "owner": "h/b/n/-1/0", "scores": []}, "expected the owner of a running trial"),
        ({"seconds": None}, "progress: damaged at seconds"),
        ({"more": 1}, "progress: damaged; expected the fields status, owner"),
    ],
)
def test_the_progress_of_a_trial_that_no_sweep_wrote_is_named(copy, refused, changes, said):
    set_progress(copy, **changes)
    assert said in refused()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bracket": -1}, "expected a rung of a bracket"),
        ({"first_rung": 10**9}, "expected a rung of a bracket"),
        ({"parent": 7}, "expected an earlier trial as its parent"),
        ({"kept": 3}, "origin: damaged at kept"),
    ],
)
def test_the_place_of_a_trial_that_no_sweep_gave_is_named(copy, refused, changes, said):
    text = text_of('{"bracket": 0, "first_rung": 0, "parent": null, "kept": {}}', changes)
    execute(copy, "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'origin'", text)
    assert said in refused()


@pytest.mark.parametrize("text", PLANS)
def test_a_plan_that_no_sweep_made_is_named(copy, refused, text):
    execute(
        copy, "INSERT OR REPLACE INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'plan', ?)", text
    )
    assert "damaged" in refused()


CODE = '"); __import__("os").system("touch ran") #'


def test_text_of_a_study_never_becomes_code(copy, refused, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    choices = {"name": "CategoricalDistribution", "attributes": {"choices": [CODE, CODE + '"""']}}
    execute(
        copy,
        "UPDATE trial_params SET distribution_json = ? WHERE param_name = 'optimizer.name'",
        json.dumps(choices),
    )
    assert "expected values of this sweep's space, found optimizer.name" in refused()
    assert not (tmp_path / "ran").exists()


def test_the_reason_of_a_failure_is_shown_as_text(swept, copy, capsys):
    with closing(sqlite3.connect(copy / "study.db")) as database:
        ids = "SELECT max(trial_id) FROM trials"
        row = f"key = 'progress' AND trial_id = ({ids})"
        (text,) = database.execute(f"SELECT value_json FROM trial_user_attributes WHERE {row}").fetchone()
        tampered = text_of(text, {"status": "failed", "scores": [], "reason": "\x1b[2J" + CODE + '"""'})
        database.execute(f"UPDATE trial_user_attributes SET value_json = ? WHERE {row}", (tampered,))
        database.commit()
    assert main(["sweep", str(swept / "search.py"), "--out", str(copy), "--executor", "map"]) == 0
    said = capsys.readouterr().out
    assert "\\x1b[2J" in said
    assert "\x1b" not in said
    assert "\x1b" not in (copy / "sweep.csv").read_text()


# --- rows


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_params SET param_value = 7.0 WHERE param_name = 'optimizer.learning_rate'",
        "UPDATE trial_params SET param_value = 'text' WHERE param_name = 'optimizer.name'",
        "UPDATE trial_params SET distribution_json = 'text'",
        'UPDATE trial_params SET distribution_json = \'{"name": "os.system", "attributes": {}}\'',
        "UPDATE trial_params SET param_name = 'no.field' WHERE param_name = 'optimizer.name'",
        "UPDATE trials SET state = 'WON'",
        "UPDATE trials SET datetime_start = 'yesterday'",
        "UPDATE trials SET number = number + 7",
        "UPDATE trial_intermediate_values SET step = -step - 1",
        "UPDATE trial_intermediate_values SET intermediate_value_type = 'ODD'",
        "UPDATE study_directions SET direction = 'SIDEWAYS'",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TRIGGER each AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",
        "CREATE VIEW forever AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    ],
)
def test_a_row_that_no_sweep_wrote_is_named(copy, refused, statement):
    with closing(sqlite3.connect(copy / "study.db")) as database:
        database.execute(statement)
        database.commit()
    said = refused()
    assert "study.db" in said


def test_a_value_of_many_megabytes_is_refused_before_it_is_read(copy, refused):
    text = json.dumps("a" * (20 << 20))
    execute(copy, "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'origin'", text)
    assert "string or blob too big" in refused()


# --- files


@pytest.mark.parametrize("name", ["study.db", "study.db-wal", "trials", "journal"])
def test_a_link_out_of_the_folder_is_refused(copy, refused, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if (copy / name).exists():
        (copy / name).rename(elsewhere)
    (copy / name).symlink_to(elsewhere)
    assert f"{copy / name}: a link" in refused()


def test_a_pipe_in_the_place_of_the_study_or_of_its_lock_is_not_waited_for(copy, refused):
    for name, said in (("study.db", "not a regular file"), ("study.db.lock", "cannot write: not a regular file")):
        (copy / name).rename(copy / f"{name}.kept")
        os.mkfifo(copy / name)
        assert said in refused()
        (copy / name).unlink()
        (copy / f"{name}.kept").rename(copy / name)


@pytest.mark.parametrize("text", IDENTITIES)
def test_a_sweep_json_of_another_form_is_named(copy, refused, text):
    (copy / "sweep.json").write_text(text)
    assert "sweep.json: damaged" in refused()


@pytest.mark.parametrize("text", [DEEP, "[]", '{"steps": "many"}'])
def test_an_environment_of_another_form_is_named(copy, refused, text):
    (copy / "environment.json").write_text(text)
    assert "environment.json: damaged" in refused()

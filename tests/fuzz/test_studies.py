"""A sweep's study, mutated in what Optuna keeps as text and in the bytes of its SQLite file."""

import itertools
import json
import sqlite3
from contextlib import closing

import pytest

from flaxcnn.config import Experiment
from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.execution.search import Search
from flaxcnn.sweeps.files import Sweep
from flaxcnn.sweeps.report.results import ranked, summary_lines, write_csv
from flaxcnn.sweeps.schedulers import PopulationBased
from flaxcnn.sweeps.space import Choice, Float, Int
from flaxcnn.sweeps.study import Step, file_url
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json
from tests.sweeps.metrics import ACCURACY

SPACE = {
    "optimizer.learning_rate": Float(1e-4, 1.0, log=True),
    "training.batch_size": Int(16, 64, step=16),
    "optimizer.name": Choice("adam", "lion"),
}
PAGE = 4096  # bytes of a page of SQLite's
SWEEP = Sweep(space=SPACE, scheduler=PopulationBased(generations=2), trials=4)


def search_in(folder):
    return Search("study", SWEEP, Experiment(), ACCURACY, folder, file_url(folder / "study.db"), "map", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the study of a sweep under way: trials of several statuses, a copy, reports, a plan and a beat."""
    folder = tmp_path_factory.mktemp("study")
    search = search_in(folder)
    study = search.open()
    decisions = search.decisions(study)
    assignments = decisions.take_on(4)
    for each in assignments:
        study.report(each.number, 3, 0.25)
    with study.deciding():
        for each in assignments[:3]:
            study.end_rung(each.number, 0.25 + each.number / 8, 1.0, last=False)
        study.fail(assignments[3].number, "loss is not a number", 1.0)
    assert decisions.take_on(1)
    with study.deciding():
        study.set_plan([Step("stop", 0), Step("go on", 1), Step("add", 5, params={"optimizer.learning_rate": 0.01})])
    study.close()
    with closing(sqlite3.connect(folder / "study.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA journal_mode = DELETE")
    return folder


def put(folder, data):
    """Put a database into a folder in place of the one before."""
    for each in folder.glob("study.db*"):
        each.unlink()
    (folder / "study.db").write_bytes(data)


def use(folder):
    """Read all of a study as a process of the sweep does, decide what is next, and report."""
    search = search_in(folder)
    study = search.open()
    try:
        trials = study.trials()
        ranked(trials)
        summary_lines(trials, ACCURACY)
        write_csv(trials, list(SPACE), ACCURACY, folder / "sweep.csv")
        Decisions(SWEEP, Experiment(), ACCURACY, study, lambda number: 0).take_on(2)
    finally:
        study.close()


# Each column of text or of numbers that the sweep or Optuna reads, with the rows that it stands in.
COLUMNS = [
    ("study_user_attributes", "value_json"),
    ("study_user_attributes", "key"),
    ("trial_user_attributes", "value_json"),
    ("trial_user_attributes", "key"),
    ("trial_params", "distribution_json"),
    ("trial_params", "param_name"),
    ("trial_params", "param_value"),
    ("trial_intermediate_values", "step"),
    ("trial_intermediate_values", "intermediate_value"),
    ("trial_intermediate_values", "intermediate_value_type"),
    ("trials", "state"),
    ("trials", "number"),
    ("trials", "datetime_start"),
    ("study_directions", "direction"),
    ("studies", "study_name"),
    ("flaxcnn_heartbeats", "owner"),
    ("flaxcnn_heartbeats", "beat"),
    ("version_info", "schema_version"),
    ("alembic_version", "version_num"),
]


def test_no_value_of_a_study_is_answered_with_anything_but_a_line(made, tmp_path):
    whole, number = (made / "study.db").read_bytes(), count(10)
    columns = itertools.cycle(COLUMNS)
    mutations = {column: mutated_json(stored(made, *column), number, seed) for seed, column in enumerate(COLUMNS)}
    rounds = itertools.count()

    def run(data):
        (table, column), text = data
        put(tmp_path, whole)
        with closing(sqlite3.connect(tmp_path / "study.db")) as database:
            rows = [row for (row,) in database.execute(f"SELECT rowid FROM {table}")]
            value = text.decode("utf-8", "replace").strip('"')
            try:
                change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                database.execute(change, (value, rows[next(rounds) // len(COLUMNS) % len(rows)]))
            except sqlite3.IntegrityError:  # SQLite itself holds no such row
                return
            database.commit()
        use(tmp_path)

    hold(run, ((column, next(mutations[column])) for column in itertools.islice(columns, number)))


def stored(folder, table, column):
    """Return what a column holds, as values of JSON where it is such a text."""
    with closing(sqlite3.connect(folder / "study.db")) as database:
        values = [value for (value,) in database.execute(f"SELECT {column} FROM {table}")]
    seeds = []
    for value in values:
        try:
            seeds.append(json.loads(value))
        except (TypeError, ValueError):
            seeds.append(value)
    return seeds


def test_no_bytes_of_a_study_are_answered_with_anything_but_a_line(made, tmp_path):
    def run(data):
        put(tmp_path, data)
        use(tmp_path)

    hold(run, mutated_bytes([(made / "study.db").read_bytes()], count(50)))


def test_no_page_of_a_study_is_answered_with_anything_but_a_line(made, tmp_path):
    whole = (made / "study.db").read_bytes()
    pages = [whole[place : place + PAGE] for place in range(0, len(whole), PAGE)]
    assert len(pages) > 10
    rounds = iter(range(1 << 30))

    def run(data):
        place = PAGE * (next(rounds) % len(pages))
        put(tmp_path, whole[:place] + data.ljust(PAGE, b"\0")[:PAGE] + whole[place + PAGE :])
        use(tmp_path)

    hold(run, mutated_bytes(pages, count(50)))

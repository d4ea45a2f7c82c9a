"""The study that keeps a sweep's trials: what it remembers, what Optuna reads in it, and what it refuses."""

import json
import math
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.distributions import distribution
from flaxcnn.sweeps.space import Choice, Float, Int, When
from flaxcnn.sweeps.study import LostTrialError, Step, Study, file_url
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.study.owners import Heartbeats, this_process
from flaxcnn.sweeps.study.storage import Database
from flaxcnn.sweeps.trials import Proposal, Status, Trial

SPACE = {
    "optimizer.name": Choice("adam", "sgd"),
    "optimizer.learning_rate": Float(1e-4, 1.0, log=True),
    "optimizer.momentum": When("optimizer.name", "sgd", Float(0.0, 0.99)),
    "optimizer.clip_norm": Choice(None, 1, 2.5),
    "optimizer.nesterov": Choice(False, True),
    "training.batch_size": Int(50, 200, step=50),
}
FINGERPRINT = {"space": ["a", "b"], "seed": 0, "experiment": {"training": {"epochs": 1, "steps": None}}}
ADAM = Proposal({"optimizer.name": "adam", "optimizer.learning_rate": 0.01})


def opened(url, folder, fingerprint=FINGERPRINT, *, higher_is_better=True, **options):
    journal = Journal(Path(folder) / "journal")
    return Study.open(url, "sweep", fingerprint, SPACE, higher_is_better=higher_is_better, journal=journal, **options)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url, tmp_path):
    study = opened(url, tmp_path)
    yield study
    study.close()


def refused(url, folder, **options):
    with pytest.raises(ConfigError) as caught:
        opened(url, folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def one_of_each_ending(study):
    with study.deciding():
        numbers = [study.add(ADAM) for _ in range(6)]
    for number in numbers:
        study.report(number, 10, 0.5)
        study.report(number, 20, 0.25)
    with study.deciding():
        study.end_rung(0, 0.75, 1.0, last=True)
        study.end_rung(1, 0.25, 1.0, last=False)
        study.stop(1)
        study.end_rung(2, 0.25, 1.0, last=False)
        study.fail(3, "loss is not a number", 1.5)
        study.release(4)
    return ["complete", "stopped", "paused", "failed", "waiting", "running"]


# --- what it remembers


def test_a_trial_goes_from_rung_to_rung(study):
    with study.deciding():
        assert study.add(ADAM, bracket=2, first_rung=1, parent=7) == 0
        study.end_rung(0, 0.5, 2.0, last=False)
    paused = Trial(0, ADAM.params, Status.PAUSED, 2, 1, 7, (0.5,), {}, 2.0)
    assert study.trials() == [paused]
    assert not study.owns(0)
    with study.deciding():
        study.claim(0)
        assert study.owns(0)
    study.report(0, 40, 0.625)
    with study.deciding():
        study.end_rung(0, 0.75, 3.5, last=True)
    assert study.trials() == [Trial(0, ADAM.params, Status.COMPLETE, 2, 1, 7, (0.5, 0.75), {40: 0.625}, 5.5)]


def test_a_released_trial_waits_for_whoever_claims_it(study):
    with study.deciding():
        study.add(ADAM)
        study.release(0)
        assert study.abandoned() == []
    assert study.trials()[0].status is Status.WAITING
    assert not study.owns(0)
    with study.deciding():
        study.claim(0)
    assert study.owns(0)


numbers = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
all_params = st.fixed_dictionaries(
    {"optimizer.learning_rate": st.floats(1e-4, 1.0), "training.batch_size": st.sampled_from([50, 100, 150, 200])},
    optional={
        "optimizer.name": st.sampled_from(["adam", "sgd"]),
        "optimizer.momentum": st.floats(0.0, 0.99),
        "optimizer.clip_norm": st.sampled_from([None, 1, 2.5]),
        "optimizer.nesterov": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def two_views():
    """A study as two processes would have it."""
    with tempfile.TemporaryDirectory() as folder:
        views = [opened(f"sqlite:///{folder}/study.db", folder) for _ in range(2)]
        yield views
        for view in views:
            view.close()


@settings(max_examples=30, deadline=None)
@given(
    params=all_params,
    kept=st.dictionaries(st.text(), json_values, max_size=3),
    standing=st.tuples(st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 99)),
    scores=st.lists(numbers, min_size=1, max_size=3),
    reports=st.dictionaries(st.integers(0, 10**6), st.floats(), max_size=4),
    ending=st.sampled_from([Status.COMPLETE, Status.STOPPED, Status.PAUSED, Status.FAILED]),
    reason=st.text(min_size=1),
)
def test_another_process_reads_every_field_as_it_was_written(
    two_views, params, kept, standing, scores, reports, ending, reason
):
    study, other = two_views
    bracket, first_rung, parent = standing
    with study.deciding():
        number = study.add(Proposal(params, kept), bracket=bracket, first_rung=first_rung, parent=parent)
    for step, value in reports.items():
        study.report(number, step, value)
    with study.deciding():
        for rung, score in enumerate(scores):
            if rung:
                study.claim(number)
            study.end_rung(number, score, 0.5, last=ending is Status.COMPLETE and rung == len(scores) - 1)
        if ending is Status.STOPPED:
            study.stop(number)
        elif ending is Status.FAILED:
            study.claim(number)
            study.fail(number, reason, 0.25)
    failed = ending is Status.FAILED
    seconds = 0.5 * len(scores) + (0.25 if failed else 0)
    (read,) = [trial for trial in other.trials() if trial.number == number]
    assert repr(read) == repr(
        Trial(
            number,
            dict(params),
            ending,
            bracket,
            first_rung,
            parent,
            tuple(scores),
            {step: value + 0.0 for step, value in sorted(reports.items())},  # SQLite keeps no sign of a zero
            seconds,
            reason if failed else "",
            kept,
        )
    )


def test_takeovers_are_counted_from_where_the_trial_got_further_or_ended_a_rung(study):
    with study.deciding():
        study.add(ADAM)
        assert [study.adopt(0, reached) for reached in (0, 0, 6, 6, 6)] == [1, 2, 1, 2, 3]
        assert study.trials()[0].adopted == 3
        study.end_rung(0, 0.5, 1.0, last=False)
        study.claim(0)
        assert study.adopt(0) == 1


def test_a_plan_is_kept_until_it_is_carried_out(study, url, tmp_path):
    other = opened(url, tmp_path)
    with study.deciding():
        assert study.plan() is None
        study.set_plan([Step("add", 0, params=dict(ADAM.params))])
    with other.deciding():
        assert other.plan() == [Step("add", 0, params=dict(ADAM.params))]
        other.set_plan(None)
    with study.deciding():
        assert study.plan() is None
    other.close()


def test_each_event_is_a_line_of_this_process_in_the_journal(study, tmp_path):
    one_of_each_ending(study)
    with study.deciding():
        study.claim(2)
    (file,) = (tmp_path / "journal").iterdir()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["trial"], line["event"]) for line in lines] == [
        *((number, "added") for number in range(6)),
        *((number, "reported") for number in range(6) for _ in range(2)),
        (0, "complete"),
        (1, "paused"),
        (1, "stopped"),
        (2, "paused"),
        (3, "failed"),
        (4, "released"),
        (2, "claimed"),
    ]
    assert lines[0]["params"] == ADAM.params
    assert (lines[6]["step"], lines[6]["value"]) == (10, 0.5)
    assert lines == sorted(lines, key=lambda line: line["time"])


# --- what Optuna reads in it


@pytest.mark.parametrize(("higher_is_better", "sign"), [(True, 1), (False, -1)])
def test_optuna_reads_the_study_as_one_of_its_own(url, tmp_path, higher_is_better, sign):
    study = opened(url, tmp_path, higher_is_better=higher_is_better)
    one_of_each_ending(study)
    study.close()
    read = optuna.load_study(study_name="sweep", storage=url)
    assert read.direction.name == ("MAXIMIZE" if higher_is_better else "MINIMIZE")
    assert [(trial.state.name, trial.value) for trial in read.trials] == [
        ("COMPLETE", sign * 0.75),
        ("PRUNED", sign * 0.25),
        ("RUNNING", None),
        ("FAIL", None),
        ("RUNNING", None),
        ("RUNNING", None),
    ]
    assert read.best_trial.number == 0
    assert read.trials[0].params == ADAM.params
    assert read.trials[0].distributions == {
        "optimizer.name": optuna.distributions.CategoricalDistribution(("adam", "sgd")),
        "optimizer.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    }
    assert read.trials[0].intermediate_values == {10: 0.5, 20: 0.25}


def test_a_domain_is_optunas_distribution_of_the_same_values():
    of = optuna.distributions
    assert distribution(Float(0, 1)) == of.FloatDistribution(0.0, 1.0)
    assert distribution(Int(1, 64, log=True)) == of.IntDistribution(1, 64, log=True)
    assert distribution(Int(50, 200, step=50)) == of.IntDistribution(50, 200, step=50)
    assert distribution(When("optimizer.name", "sgd", Choice(None, True, 2))) == of.CategoricalDistribution(
        (None, True, 2)
    )


@pytest.mark.parametrize(
    ("progress", "state", "value"),
    [
        ({"status": "complete", "scores": [0.25, 0.5]}, "COMPLETE", 0.5),
        ({"status": "stopped", "scores": [0.25]}, "PRUNED", 0.25),
        ({"status": "failed", "reason": "out of memory"}, "FAIL", None),
    ],
)
def test_where_a_process_died_before_optuna_knew_of_a_trials_end_the_next_one_tells_it(
    study, url, progress, state, value
):
    with study.deciding():
        study.add(ADAM)
    storage = optuna.storages.RDBStorage(url)
    running = storage.get_trial_user_attrs(1)["progress"]
    storage.set_trial_user_attr(1, "progress", {**running, "owner": None, **progress})
    (trial,) = study.trials()  # anyone reads it so
    assert trial.status == progress["status"]
    with study.deciding():
        assert study.trials() == [trial]
    assert (storage.get_trial(1).state.name, storage.get_trial(1).value) == (state, value)


def test_a_trial_that_another_program_ends_has_failed(study, url):
    with study.deciding():
        study.add(ADAM)
    optuna.storages.RDBStorage(url).set_trial_state_values(1, optuna.trial.TrialState.FAIL)
    with pytest.raises(LostTrialError):
        study.report(0, 1, 0.5)
    with study.deciding(), pytest.raises(LostTrialError):
        study.end_rung(0, 0.5, 1.0, last=True)
    (trial,) = study.trials()
    assert (trial.status, trial.reason) == (Status.FAILED, "ended by another program")


# --- what it refuses


def test_what_changes_a_status_is_done_while_deciding(study):
    with pytest.raises(RuntimeError):
        study.add(ADAM)
    with study.deciding():
        study.add(ADAM)
    for change in (
        lambda: study.end_rung(0, 0.5, 1.0, last=True),
        lambda: study.fail(0, "", 1.0),
        lambda: study.release(0),
        lambda: study.adopt(0),
        study.abandoned,
    ):
        with pytest.raises(RuntimeError):
            change()
    assert study.owns(0)


def test_a_trial_only_changes_from_the_status_that_the_change_is_for(study):
    one_of_each_ending(study)
    with study.deciding():
        for change, right in ((study.claim, {2, 4}), (study.stop, {2}), (study.adopt, {5})):
            for number in {0, 1, 2, 3, 4, 5} - right:
                with pytest.raises(ValueError, match=f"trial {number} is "):
                    change(number)
        for number in range(5):
            with pytest.raises(LostTrialError):
                study.end_rung(number, 0.5, 1.0, last=False)
        with pytest.raises(ValueError, match="not a number"):
            study.end_rung(5, math.nan, 1.0, last=False)
        with pytest.raises(ValueError, match="contained"):
            study.add(Proposal({"optimizer.learning_rate": 2.0}))
    assert [trial.status for trial in study.trials()] == [
        Status.COMPLETE,
        Status.STOPPED,
        Status.PAUSED,
        Status.FAILED,
        Status.WAITING,
        Status.RUNNING,
    ]


@pytest.mark.parametrize(
    ("fingerprint", "said"),
    [
        ({**FINGERPRINT, "seed": 1}, "by seed; expected 0, found 1"),
        ({**FINGERPRINT, "space": ("a", "c")}, 'by space; expected ["a", "b"], found ["a", "c"]'),
        (
            {**FINGERPRINT, "experiment": {"training": {"epochs": 1, "steps": 9}}},
            "by experiment.training.steps; expected null, found 9",
        ),
        ({**FINGERPRINT, "metric": "validation_loss"}, 'by metric; expected null, found "validation_loss"'),
    ],
)
def test_the_study_of_another_sweep_is_refused_by_the_first_field_that_differs(study, url, tmp_path, fingerprint, said):
    assert said in refused(url, tmp_path, fingerprint=fingerprint)


def test_the_study_of_the_same_sweep_is_opened_again_whatever_the_order_of_its_fields(study, url, tmp_path):
    with study.deciding():
        study.add(ADAM)
    again = opened(url, tmp_path, dict(reversed({**FINGERPRINT, "space": ("a", "b")}.items())))
    assert again.trials() == study.trials()
    again.close()


@pytest.mark.slow
def test_a_file_is_refused_while_another_machine_uses_it(url, tmp_path):
    opened(url, tmp_path).close()
    heartbeats = Heartbeats(Database(url).engine)
    elsewhere = this_process()._replace(host="elsewhere", boot="another", pid=77)
    ended = threading.Event()

    def live():
        while not ended.wait(0.5):
            heartbeats.beat(elsewhere)

    heartbeats.beat(elsewhere)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        line = refused(url, tmp_path)
    finally:
        ended.set()
        thread.join()
    assert "a SQLite file is for the processes of one machine; found process 77 on elsewhere. Give a --storage" in line
    opened(url, tmp_path, heartbeat=1.0, grace=3.0).close()  # once it has been silent long enough


def test_a_study_that_another_program_made_is_refused(url, tmp_path):
    optuna.create_study(study_name="sweep", storage=url, direction="maximize").add_trial(
        optuna.trial.create_trial(value=0.5)
    )
    assert "study 'sweep' was made by another program" in refused(url, tmp_path)


def test_trials_that_another_program_adds_are_refused(study, url):
    optuna.load_study(study_name="sweep", storage=url).add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(ConfigError, match="study 'sweep': trial 0 was made by another program"):
        study.trials()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/db?password=secret", "refused"),
        ("postgresql+psycopg://me:secret@no.such.host.invalid/db", "no.such.host.invalid"),
        ("postgresql+nothing://me:secret@host/db", "unknown driver"),
        ("postgresql+pg8000://me:secret@host/db", "pip install 'psycopg[binary]'"),
        ("me:secret@host", "is not a URL"),
        ("postgresql://me:secret@host:port/db", "is not a URL"),
        ("study.db", "found study.db"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:////no/such/folder/study.db", "/no/such/folder/study.db.lock: cannot write: No such file"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(url, said, tmp_path):
    line = refused(url, tmp_path)
    assert said in line
    assert "secret" not in line


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "oracle"])
def test_a_database_of_another_kind_is_refused_with_those_that_can_be_used(scheme, tmp_path):
    with pytest.raises(ConfigError) as caught:
        opened(f"{scheme}://me:secret@host/db", tmp_path)
    error = caught.value
    assert (error.where, error.found) == ("--storage", scheme)
    assert error.expected == "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


def test_a_file_that_is_no_database_is_one_line(url, tmp_path):
    (tmp_path / "study.db").write_text("trials, as I remember them\n" * 100)
    line = refused(url, tmp_path)
    assert "study.db: the storage failed; found file is not a database. Move the file away" in line


def test_a_database_that_goes_away_is_one_line(study, tmp_path):
    with study.deciding():
        study.add(ADAM)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("DROP TABLE trial_user_attributes")
    connection.close()
    for use in (study.trials, lambda: study.report(0, 1, 0.5), lambda: study.owns(0)):
        with pytest.raises(ConfigError, match="no such table: trial_user_attributes"):
            use()


def test_a_file_of_any_path_has_a_url(tmp_path):
    folder = tmp_path / "{x}%20%(y)s #?é"
    folder.mkdir()
    study = opened(file_url(folder / "study.db"), folder)
    study.close()
    assert (folder / "study.db").exists()


def test_without_a_study_neither_optuna_nor_jax_is_imported():
    program = "import sys, flaxcnn.sweeps.study; print({'optuna', 'sqlalchemy', 'jax'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"

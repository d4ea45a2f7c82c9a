"""What processes of a sweep take on and tell: the same whether or not one of them was killed, at any write."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from flaxcnn.config import Experiment
from flaxcnn.sweeps import ASHA, Choice, Float, Grid, Listed, PopulationBased, Random, Sweep
from flaxcnn.sweeps.execution.decisions import Decisions, budget_of
from flaxcnn.sweeps.execution.trainer import Outcome
from flaxcnn.sweeps.files import fingerprint
from flaxcnn.sweeps.study import Step, Study
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.study.study import PLAN
from flaxcnn.sweeps.trials import Status
from tests.sweeps.metrics import ACCURACY, LOSS

CHECKOUT = Path(__file__).parents[2]
RATE, PARTS, SEED = "optimizer.learning_rate", "training.accumulate", "training.seed"
RATES = {RATE: Float(1e-4, 1e-2, log=True)}


@pytest.fixture
def process(tmp_path):
    """Make what decides in this process on a sweep in a folder: `study, decisions = process(sweep, by)`."""
    opened = []

    def process(sweep, by=ACCURACY):
        study = Study.open(
            f"sqlite:///{tmp_path}/study.db",
            "search",
            fingerprint(sweep, Experiment(), by),
            sweep.space,
            higher_is_better=by.higher_is_better,
            journal=Journal(tmp_path / "journal"),
        )
        opened.append(study)
        return study, Decisions(sweep, Experiment(), by, study, lambda number: 0)

    yield process
    for study in opened:
        study.close()


def numbers(assignments):
    return [assignment.number for assignment in assignments]


def ended(decisions, assignments, values):
    for assignment, value in zip(assignments, values, strict=True):
        decisions.record(Outcome(assignment.number, value, "", 1.0))


def statuses(study):
    return [str(trial.status) for trial in study.trials()]


# --- one process


def test_nothing_is_taken_on_while_others_train_and_none_is_returned_when_all_have_ended(process):
    study, decisions = process(Sweep(RATES, Random(), trials=3))
    first = decisions.take_on(2)
    assert numbers(first) == [0, 1]
    second = decisions.take_on(2)
    assert numbers(second) == [2]
    assert decisions.take_on(2) == []
    ended(decisions, [*first, *second], [0.1, 0.2, 0.3])
    assert decisions.take_on(2) is None
    assert decisions.take_on(2) is None
    assert statuses(study) == ["complete"] * 3


def test_asha_by_hand_ends_with_its_paused_trials_stopped(process):
    """Rungs at 1/2 and 1, one trial at a time: it is promoted when it is in the best half of those that ended."""
    study, decisions = process(Sweep(RATES, Random(), ASHA(reduction=2, least=0.5), trials=4))
    taken = []
    for expected, value in (((0, 0.5), 0.1), ((1, 0.5), 0.4), ((1, 1.0), 0.5), ((2, 0.5), 0.3), ((3, 0.5), 0.2)):
        (assignment,) = decisions.take_on(1)
        taken.append((assignment.number, assignment.fraction))
        assert taken[-1] == expected
        ended(decisions, [assignment], [value])
    (assignment,) = decisions.take_on(1)
    assert (assignment.number, assignment.fraction) == (2, 1.0)
    ended(decisions, [assignment], [0.6])
    assert decisions.take_on(1) is None
    assert statuses(study) == ["stopped", "complete", "complete", "stopped"]
    assert [trial.scores for trial in study.trials()] == [(0.1,), (0.4, 0.5), (0.3, 0.6), (0.2,)]


def test_a_copy_of_a_population_begins_where_its_parent_stood_in_every_process_that_trains_it(process):
    sweep = Sweep(RATES, Random(), PopulationBased(generations=3, replaced=0.5), trials=2)
    study, decisions = process(sweep)
    assignments = decisions.take_on(2)
    assert [(each.fraction, each.parent) for each in assignments] == [(1 / 3, None)] * 2
    ended(decisions, assignments, [0.2, 0.1])
    copy, member = decisions.take_on(2)  # the copy first, so that its parent's state is read before it goes on
    assert (copy.number, copy.parent, copy.parent_fraction, copy.fraction) == (2, 0, 1 / 3, 2 / 3)
    assert (member.number, member.parent, member.fraction) == (0, None, 2 / 3)
    assert copy.experiment.optimizer.learning_rate == study.trials()[2].params[RATE]
    decisions.release([2])
    ended(decisions, [member], [0.3])
    (again,) = process(sweep)[1].take_on(2)
    assert again == copy
    ended(decisions, [again], [0.4])
    last = decisions.take_on(2)
    # Trial 2 is the best now, and goes on: its parent's state is where it began with it, not where it stands.
    (going,) = [each for each in last if each.number == 2]
    assert (going.parent, going.parent_fraction, going.fraction) == (0, 1 / 3, 1.0)
    (new,) = [each for each in last if each.number == 3]
    assert (new.parent, new.parent_fraction, new.fraction) == (2, 2 / 3, 1.0)


def test_settings_that_do_not_go_together_fail_with_the_reason_and_the_others_are_trained(process):
    space = {PARTS: Choice(1, 3, 7)}  # into which no batch of 50 can be cut evenly but one
    settings = Listed(({PARTS: 3}, {PARTS: 1}, {PARTS: 3}, {PARTS: 7}, {PARTS: 1}))
    study, decisions = process(Sweep(space, settings, trials=5))
    first = decisions.take_on(2)
    assert numbers(first) == [1]
    assert numbers(decisions.take_on(2)) == [4]  # what fails at once leaves no slot empty
    trials = study.trials()
    assert [str(trial.status) for trial in trials] == ["failed", "running", "failed", "failed", "running"]
    assert trials[3].reason == (
        "training.accumulate: parts of unequal size; expected a divisor of training.batch_size, 50, found 7"
    )


def test_where_no_settings_go_together_the_sweep_is_done(process):
    study, decisions = process(Sweep({PARTS: Choice(3, 7)}, Listed(({PARTS: 3}, {PARTS: 7})), trials=2))
    assert decisions.take_on(1) is None
    assert statuses(study) == ["failed", "failed"]


def test_a_trial_that_failed_has_its_reason_and_its_seconds(process):
    study, decisions = process(Sweep(RATES, Random(), trials=2))
    decisions.take_on(2)
    decisions.record(Outcome(0, None, "step 3: the loss is not finite", 2.5))
    (failed, other) = study.trials()
    assert (failed.status, failed.reason, failed.seconds) == (Status.FAILED, "step 3: the loss is not finite", 2.5)
    assert other.status is Status.RUNNING


def test_of_a_loss_the_lowest_is_the_best_score(process):
    study, decisions = process(Sweep(RATES, Random(), trials=2), LOSS)
    ended(decisions, decisions.take_on(2), [0.25, 0.5])
    assert [trial.scores for trial in study.trials()] == [(-0.25,), (-0.5,)]


def test_asha_by_hand_promotes_the_lowest_where_the_lowest_is_best(process):
    """As above with errors: of the first two that ended, the one with 0.1 goes on."""
    study, decisions = process(Sweep(RATES, Random(), ASHA(reduction=2, least=0.5), trials=2), LOSS)
    taken = []
    for value in (0.4, 0.1, 0.05):
        (assignment,) = decisions.take_on(1)
        taken.append((assignment.number, assignment.fraction))
        ended(decisions, [assignment], [value])
    assert taken == [(0, 0.5), (1, 0.5), (1, 1.0)]
    assert decisions.take_on(1) is None
    assert [trial.scores for trial in study.trials()] == [(-0.4,), (-0.1, -0.05)]


def test_a_sweep_has_as_many_trials_as_there_are_different_ones():
    space = {RATE: Float(1e-4, 1e-2), PARTS: Choice(1, 2)}
    assert budget_of(Sweep(space, Grid(points=3), trials=99), Experiment()) == 6
    assert budget_of(Sweep(space, Grid(points=3), trials=4), Experiment()) == 4
    assert budget_of(Sweep(space, Random(), trials=99), Experiment()) == 99


# --- several processes

# Each is forked from one that has imported everything; a write is a transaction that changed a row.
PROGRAM = """
import dataclasses, json, math, os, shutil, signal, sys, tempfile, time
from pathlib import Path

import optuna
import sqlalchemy
from sqlalchemy import event

from flaxcnn.config import *
from flaxcnn.sweeps import *
from flaxcnn.sweeps.execution.decisions import Decisions
from flaxcnn.sweeps.files import fingerprint
from flaxcnn.sweeps.metric import RankedBy
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.study import Step, Study
from flaxcnn.sweeps.execution.trainer import Outcome

experiment, RATE = Experiment(), "optimizer.learning_rate"
folder, sweep = Path(sys.argv[1]), eval(sys.argv[2])
by = RankedBy("validation_accuracy", higher_is_better=True, fraction=True)


def forked(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opened(at):
    study = Study.open(
        f"sqlite:///{at}/study.db", "search", fingerprint(sweep, experiment, by), sweep.space,
        higher_is_better=True, journal=Journal(at / "journal"),
    )
    def reached(number):
        state = at / f"state-{number}"  # stands for the trial's states
        return int(state.read_text()) if state.exists() else 0

    return study, Decisions(sweep, experiment, by, study, reached)


def value_of(assignment):
    rate, noise = math.log10(assignment.experiment.optimizer.learning_rate), 1e4 * assignment.fraction
    return assignment.fraction - (rate + 3) ** 2 + 0.3 * math.sin(noise * rate)


def trained(decisions, study, parallel):
    while (assignments := decisions.take_on(parallel)) is not None:
        for each in assignments:
            value = value_of(each)
            study.report(each.number, round(36 * each.fraction), value)
            decisions.record(Outcome(each.number, value, "", 1.5))


def kept(at, study):
    with study.deciding():
        plan, trials = study.plan(), study.trials()
    frozen = optuna.load_study(study_name="search", storage=f"sqlite:///{at}/study.db").trials
    (at / "kept.json").write_text(json.dumps({
        "plan": plan,
        "trials": [dataclasses.asdict(trial) for trial in trials],
        "optuna": [[each.number, each.state.name, each.value, each.params] for each in frozen],
    }))


def count_writes(kill_at, written):
    counts = [0]

    @event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def executes(connection, cursor, statement, *rest):
        if statement.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE"):
            connection.info["wrote"] = True

    @event.listens_for(sqlalchemy.Engine, "commit")
    def commits(connection):
        if connection.info.pop("wrote", False):
            counts[0] += 1
            if counts[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if written is not None:
                written.write_text(str(counts[0]))


with tempfile.TemporaryDirectory() as warm:  # a sweep that brings all modules in, before anything is forked
    study, decisions = opened(Path(warm))
    trained(decisions, study, 2)
    study.close()
"""

KILLED_AT_EVERY_WRITE = """
parallel, stride = int(sys.argv[3]), int(sys.argv[4])


def sweep_in(at, kill_at=0, written=None):
    def work():
        study, decisions = opened(at)
        count_writes(kill_at, written)
        trained(decisions, study, parallel)
        kept(at, study)
    return work


def copy(name):
    return Path(shutil.copytree(folder / "empty", folder / name))


(folder / "empty").mkdir()
assert forked(lambda: opened(folder / "empty")) == 0
whole = copy("whole")
assert forked(sweep_in(whole, written=folder / "writes")) == 0
writes = int((folder / "writes").read_text())
killed = {}
for write in range(1, writes + 1, stride):
    at = copy(f"killed-{write}")
    assert forked(sweep_in(at, kill_at=write)) == -signal.SIGKILL
    assert forked(sweep_in(at)) == 0
    killed[write] = json.loads((at / "kept.json").read_text())
    shutil.rmtree(at)
print(json.dumps({"whole": json.loads((whole / "kept.json").read_text()), "writes": writes, "killed": killed}))
"""

SCHEDULERS = {
    "halving": "SuccessiveHalving(reduction=2, least=0.25)",
    "hyperband": "Hyperband(reduction=2, least=0.5)",
    "asha": "ASHA(reduction=2, least=0.25)",
    "pbt": "PopulationBased(generations=3, replaced=0.34)",
}


def run(program, *arguments):
    words = [sys.executable, "-c", PROGRAM + program, *map(str, arguments)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def killed_at(tmp_path, name, trials, parallel, stride):
    """The trials of a sweep that wasn't killed, once those that were killed at every so many writes ended alike."""
    # Of few options, most draws of a copy are its parent's, and drawn again.
    domain = "Choice(1e-4, 1e-3, 4e-3, 1e-2)" if name == "pbt" else "Float(1e-4, 1e-2, log=True)"
    sweep = f"Sweep({{RATE: {domain}}}, TPE(startup=2), {SCHEDULERS[name]}, trials={trials})"
    found = json.loads(run(KILLED_AT_EVERY_WRITE, tmp_path, sweep, parallel, stride))
    whole = found["whole"]
    assert whole["plan"] is None
    assert {trial["status"] for trial in whole["trials"]} <= {"complete", "stopped"}
    assert len(found["killed"]) == len(range(1, found["writes"] + 1, stride))
    for write, study in found["killed"].items():
        assert study == whole, f"killed at write {write} of {found['writes']}"
    return whole["trials"]


@pytest.mark.slow
def test_a_sweep_killed_at_a_write_ends_with_the_study_of_one_that_was_not(tmp_path):
    """Several slots, proposals that follow from the trials before, promotions: at every seventh write."""
    trials = killed_at(tmp_path, "asha", trials=4, parallel=2, stride=7)
    assert len(trials) == 4
    assert any(len(trial["scores"]) > 1 for trial in trials)


@pytest.mark.sweeps
@pytest.mark.parametrize(
    ("name", "trials", "parallel"),
    [("halving", 4, 3), ("hyperband", 4, 2), ("asha", 4, 1), ("asha", 4, 3), ("pbt", 3, 3)],
)
def test_killed_at_any_write_a_sweep_ends_with_the_study_of_one_that_was_not(tmp_path, name, trials, parallel):
    ended = killed_at(tmp_path, name, trials, parallel, stride=1)
    if name == "pbt":  # of 3 one is replaced after each generation but the last
        assert [trial["parent"] is not None for trial in ended] == [False] * 3 + [True] * 2
        assert all(trial["params"] != ended[trial["parent"]]["params"] for trial in ended[3:])


DOOMED = """
(folder / "study").mkdir()


def doomed():
    study, decisions = opened(folder / "study")
    assert len(decisions.take_on(1)) == 1
    os.kill(os.getpid(), signal.SIGKILL)


def standing():
    study, _ = opened(folder / "study")
    print(json.dumps([[str(trial.status), trial.reason] for trial in study.trials()]))


for _ in range(6):
    assert forked(doomed) == -signal.SIGKILL
    forked(standing)
assert forked(doomed) == -signal.SIGKILL
forked(standing)
"""


@pytest.mark.slow
def test_a_trial_whose_processes_end_six_times_before_it_gets_on_fails_and_the_next_one_begins(tmp_path):
    sweep = "Sweep({RATE: Float(1e-4, 1e-2, log=True)}, Random(), trials=2)"
    lines = [json.loads(line) for line in run(DOOMED, tmp_path, sweep).splitlines()]
    assert lines[:6] == [[["running", ""]]] * 6
    ((status, reason), other) = lines[6]
    assert status == "failed"
    assert reason.startswith("6 processes ended while they trained it")
    assert other == ["running", ""]


FORTUNATE = """
(folder / "study").mkdir()


def fortunate(step):
    study, decisions = opened(folder / "study")
    (assignment,) = decisions.take_on(1)
    (folder / "study" / f"state-{assignment.number}").write_text(str(step))
    os.kill(os.getpid(), signal.SIGKILL)


for step in range(1, 10):
    assert forked(lambda: fortunate(step)) == -signal.SIGKILL
study, _ = opened(folder / "study")
print(json.dumps([str(trial.status) for trial in study.trials()]))
"""


@pytest.mark.slow
def test_a_trial_that_gets_on_between_the_ends_of_its_processes_does_not_fail(tmp_path):
    sweep = "Sweep({RATE: Float(1e-4, 1e-2, log=True)}, Random(), trials=1)"
    assert json.loads(run(FORTUNATE, tmp_path, sweep)) == ["running"]


HOLDS = """
study, decisions = opened(folder)
print(json.dumps([each.number for each in decisions.take_on(2)]), flush=True)
time.sleep(1000)
"""


def test_a_living_process_keeps_its_trials_and_those_of_a_dead_one_come_before_anything_new(process, tmp_path):
    text = f'Sweep({{"{RATE}": Float(1e-4, 1e-2, log=True)}}, Random(), trials=4)'
    study, decisions = process(Sweep(RATES, Random(), trials=4))
    words = [sys.executable, "-c", PROGRAM + HOLDS, str(tmp_path), text]
    with subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert json.loads(other.stdout.readline()) == [0, 1]
            ours = decisions.take_on(2)
            assert numbers(ours) == [2, 3]
            assert decisions.take_on(1) == []
            ended(decisions, ours, [0.1, 0.2])
            assert decisions.take_on(2) == []
        finally:
            other.kill()
    assert other.returncode == -signal.SIGKILL
    assert numbers(decisions.take_on(1)) == [0]
    assert numbers(decisions.take_on(2)) == [1]
    assert study.owns(0)
    assert study.owns(1)


@pytest.mark.slow
def test_what_a_process_tells_of_a_trial_that_another_took_over_changes_nothing(process, tmp_path):
    text = f'Sweep({{"{RATE}": Float(1e-4, 1e-2, log=True)}}, Random(), trials=1)'
    study, decisions = process(Sweep(RATES, Random(), trials=1))
    (assignment,) = decisions.take_on(1)
    takes_over = """
study, decisions = opened(folder)
with study.deciding():
    study.adopt(0)
"""
    run(takes_over, tmp_path, text)
    for outcome in (Outcome(assignment.number, 0.9, "", 1.0), Outcome(assignment.number, None, "no", 1.0)):
        decisions.record(outcome)
    decisions.release([assignment.number])
    (trial,) = study.trials()
    assert (trial.status, trial.scores, trial.reason) == (Status.RUNNING, (), "")


@pytest.mark.slow
def test_a_plan_of_a_killed_process_is_carried_out_whole_by_one_with_fewer_slots(process, tmp_path):
    """It asked for three trials, and was killed before it made the second one."""
    text = f'Sweep({{"{RATE}": Float(1e-4, 1e-2, log=True)}}, Random(), trials=9)'
    killed = """
study, decisions = opened(folder)
add = study.add
def add_once(*arguments, **options):
    if study.trials():
        os.kill(os.getpid(), signal.SIGKILL)
    return add(*arguments, **options)
study.add = add_once
decisions.take_on(3)
"""
    words = [sys.executable, "-c", PROGRAM + killed, str(tmp_path), text]
    assert subprocess.run(words, cwd=CHECKOUT, timeout=100).returncode == -signal.SIGKILL
    planned = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db").user_attrs[PLAN]
    assert [step["trial"] for step in planned] == [0, 1, 2]
    study, decisions = process(Sweep(RATES, Random(), trials=9))
    assert statuses(study) == ["running"]
    assert numbers(decisions.take_on(1)) == [0, 1, 2]
    assert [trial.params for trial in study.trials()] == [step["params"] for step in planned]
    assert numbers(decisions.take_on(1)) == [3]


def test_a_trial_that_another_program_ended_between_a_plan_and_its_end_is_left_alone(process, tmp_path):
    study, decisions = process(Sweep(RATES, Random(), ASHA(reduction=2, least=0.5), trials=2))
    ended(decisions, decisions.take_on(2), [0.5, 0.25])
    with study.deciding():
        study.set_plan([Step("go on", 0)])
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    storage.set_trial_state_values(1, optuna.trial.TrialState.FAIL)
    decisions.take_on(2)
    assert statuses(study)[0] == "failed"
    assert study.trials()[0].reason == "ended by another program"

"""A study that several real processes share: who is killed, hangs or forks takes no trial with it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flaxcnn.sweeps.space import Float
from flaxcnn.sweeps.study import Study
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.study.owners import this_process
from flaxcnn.sweeps.trials import Proposal, Status

pytestmark = pytest.mark.sweeps


CHECKOUT = Path(__file__).parents[2]
RATE = "optimizer.learning_rate"

# What each program begins with; it says "at NAME" for the test to wait for.
PRELUDE = """
import os, sys, time
from pathlib import Path
from flaxcnn.sweeps.study.journal import Journal
from flaxcnn.sweeps.space import Float
from flaxcnn.sweeps.study import LostTrialError, Study
from flaxcnn.sweeps.trials import Proposal, Status

space = {"optimizer.learning_rate": Float(1e-4, 1.0, log=True)}
proposal = Proposal({"optimizer.learning_rate": 0.01})
study = Study.open(
    sys.argv[1], "sweep", {"seed": 0}, space, higher_is_better=True, journal=Journal(Path(sys.argv[2])),
    heartbeat=0.2, grace=float(sys.argv[3]),
)

def at(name):
    print(name, flush=True)
"""

DRAIN = """
ended, hangs_after = 0, int(sys.argv[4])
if hangs_after < 0:
    at("ready")
with study.beating():
    while True:
        with study.deciding():
            trials = study.trials()
            number = None
            if abandoned := study.abandoned():
                number = abandoned[0]
                study.adopt(number)
            elif len(trials) < 40:
                number = study.add(proposal)
            elif not any(trial.status is Status.RUNNING for trial in trials):
                break
        if number is None:
            time.sleep(0.05)
            continue
        if ended == hangs_after:
            at(number)
            time.sleep(1000)
        study.report(number, 1, number / 40)
        with study.deciding():
            study.end_rung(number, number / 40, 0.5, last=True)
        ended += 1
"""


@pytest.fixture
def start(database_url, tmp_path):
    """Start a program on the study; what is left of them at the end is killed."""
    started = []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

    def start(program, *arguments, grace=60.0):
        words = [sys.executable, "-c", PRELUDE + program, database_url, tmp_path / "journal", grace, *arguments]
        process = subprocess.Popen(list(map(str, words)), cwd=CHECKOUT, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


@pytest.fixture
def study(database_url, tmp_path):
    """This process's view of it, in which silence counts after 5 seconds."""
    space = {RATE: Float(1e-4, 1.0, log=True)}
    journal = Journal(tmp_path / "journal")
    study = Study.open(
        database_url, "sweep", {"seed": 0}, space, higher_is_better=True, journal=journal, heartbeat=0.2, grace=5.0
    )
    yield study
    study.close()


def says(process):
    return process.stdout.readline().strip()


@contextlib.contextmanager
def nothing_written(url):
    """While entered, no process is amid a write: one that is stopped then would keep all others from a SQLite file."""
    if not url.startswith("sqlite"):
        yield
        return
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def events(folder):
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_four_processes_run_forty_trials_once_each_though_a_fifth_is_killed(start, study, tmp_path):
    killed = start(DRAIN, 2)
    number = int(says(killed))
    others = [start(DRAIN, -1) for _ in range(4)]
    assert [says(process) for process in others] == ["ready"] * 4
    killed.kill()
    assert [process.wait(180) for process in others] == [0, 0, 0, 0]
    trials = study.trials()
    assert [(trial.number, trial.status, trial.scores) for trial in trials] == [
        (number, Status.COMPLETE, (number / 40,)) for number in range(40)
    ]
    journal = events(tmp_path / "journal")
    for event in ("added", "reported", "complete"):
        assert Counter(line["trial"] for line in journal if line["event"] == event) == Counter(range(40))
    assert [line["trial"] for line in journal if line["event"] == "adopted"] == [number]


def test_the_trials_of_a_killed_process_are_known_at_once_to_be_abandoned(start, study):
    process = start("with study.deciding(): study.add(proposal); study.add(proposal)\nat('added'); time.sleep(1000)")
    assert says(process) == "added"
    with study.deciding():
        assert study.abandoned() == []
    process.kill()  # which nobody has waited for: the system still shows it, as a zombie
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with study.deciding():
        assert study.abandoned() == [0, 1]
        study.adopt(1)
        assert study.abandoned() == [0]
        study.end_rung(1, 0.5, 1.0, last=False)
    assert not study.owns(0)


def test_a_process_that_is_killed_while_it_decides_leaves_nothing_locked(start, study):
    process = start("with study.deciding(): study.add(proposal); at('deciding'); time.sleep(1000)")
    assert says(process) == "deciding"
    process.kill()
    with study.deciding():
        assert study.add(Proposal({RATE: 0.1})) == 1


def test_a_process_that_hung_finds_that_its_trial_is_anothers_now(start, study, database_url):
    process = start(
        """
with study.beating():
    with study.deciding():
        number = study.add(proposal)
    at("added")
    input()
    try:
        study.report(number, 1, 0.9)
    except LostTrialError as error:
        at(error)
    for change in (
        lambda: study.end_rung(number, 0.9, 1.0, last=True),
        lambda: study.fail(number, "", 1.0),
        lambda: study.release(number),
    ):
        try:
            with study.deciding():
                change()
        except LostTrialError as error:
            at(error)
"""
    )
    assert says(process) == "added"
    time.sleep(6.5)
    with study.deciding():
        assert study.abandoned() == []  # it lives, and says so
    with nothing_written(database_url):
        os.kill(process.pid, signal.SIGSTOP)
    deadline, abandoned = time.monotonic() + 60, []
    while not abandoned:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        with study.deciding():
            if abandoned := study.abandoned():
                study.adopt(0)
    assert abandoned == [0]
    os.kill(process.pid, signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    assert [says(process) for _ in range(4)] == ["trial 0 is not this process's any more"] * 4
    assert process.wait(30) == 0
    (trial,) = study.trials()
    assert (trial.status, trial.reports, trial.scores) == (Status.RUNNING, {}, ())
    assert study.owns(0)


def test_a_forked_process_has_connections_of_its_own(start):
    process = start(
        """
with study.deciding():
    study.add(proposal)
parent = os.fork()
for _ in range(50):
    assert [trial.number for trial in study.trials()] == [0]
    assert study.owns(0) is bool(parent)
if parent:
    assert os.waitpid(parent, 0)[1] == 0
    assert study.owns(0)
    at("both")
"""
    )
    assert says(process) == "both"
    assert process.wait(30) == 0


def test_a_process_is_named_so_that_no_other_one_has_its_name():
    here = this_process()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not here.ended
        assert here._replace(started="0").ended  # its number is another process's now
        assert not here._replace(pid=child.pid, boot="another machine").ended
        assert not here._replace(pid=child.pid, namespace="pid:[1]").ended
    finally:
        child.communicate(b"\n")
    assert here._replace(pid=child.pid).ended
    assert not here._replace(pid=child.pid, boot="another machine").ended  # which this one cannot see

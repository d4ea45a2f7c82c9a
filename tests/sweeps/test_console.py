"""What a sweep prints: a live table on a real terminal, one plain line an event in a pipe."""

import io
import os
import pty
import re
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from flaxcnn.sweeps.report.console import SweepConsole, Work, time_left
from flaxcnn.sweeps.trials import Status, Trial
from tests.sweeps.metrics import ACCURACY, LOSS

RATE, DROPOUT = "optimizer.learning_rate", "model.dropout"


def trial(number, status, scores=(), reports=None, **more):
    return Trial(number, {RATE: 0.001 * (number + 1)}, Status(status), scores=scores, reports=reports or {}, **more)


def piped(looks, total=4, by=ACCURACY):
    """What a sweep prints into a pipe while it is looked at."""
    out = io.StringIO()
    console = SweepConsole(total, by, Console(file=out, highlight=False, soft_wrap=True))
    with console.live():
        for trials in looks:
            console.updated(trials, {}, Work(0, 100, 1))
    return out.getvalue().splitlines()


def test_each_event_is_one_plain_line():
    first, second = trial(0, "running"), trial(1, "running")
    paused = replace(first, status=Status.PAUSED, scores=(0.9,), reports={40: 0.9})
    failed = replace(second, status=Status.FAILED, reason="loss is nan at step 7")
    complete = replace(paused, status=Status.COMPLETE, scores=(0.9, 0.98), reports={40: 0.9, 120: 0.98})
    copied = trial(2, "running", first_rung=1, parent=0)
    looks = [[], [first], [first, second], [paused, failed], [replace(paused, status=Status.RUNNING), failed]]
    looks += [[complete, failed], [complete, failed, copied], [complete, failed, copied]]
    assert piped(looks) == [
        "trial 0 began: learning_rate 0.001",
        "trial 1 began: learning_rate 0.002",
        "trial 0 ended rung 1 at step 40: validation accuracy 0.9000",
        "trial 1 failed: loss is nan at step 7",
        "trial 0 goes on",
        "trial 0 complete at step 120: validation accuracy 0.9800",
        "trial 2 began with the state of trial 0: learning_rate 0.003",
    ]


def test_a_trial_that_is_stopped_is_told_once():
    paused = trial(0, "paused", (-0.5,), {40: 0.5})
    stopped = replace(paused, status=Status.STOPPED)
    lines = piped([[paused], [stopped], [stopped]], by=LOSS)
    assert lines == ["trial 0 stopped at step 40: validation loss 0.5000"]


def test_what_was_before_the_first_look_is_no_news():
    assert piped([[trial(0, "failed", reason="old"), trial(1, "complete", (0.9,), {5: 0.9})]]) == []


def test_a_bracket_in_a_reason_is_printed_as_it_is():
    failed = trial(0, "failed", reason="shape [3, 3] and [bold]")
    assert piped([[], [failed]]) == ["trial 0 failed: shape [3, 3] and [bold]"]


def on_terminal(show, height=24, width=100):
    """What a sweep prints on a terminal, as a list of what was written, control sequences left out."""
    leader, follower = pty.openpty()
    chunks = []

    def read():
        try:
            while chunk := os.read(leader, 65536):
                chunks.append(chunk)
        except OSError:  # Linux says so when the other side is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        show(Console(file=terminal, highlight=False, soft_wrap=True, width=width, height=height, legacy_windows=False))
    reader.join(10)
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(chunks).decode()).replace("\r", "\n")


TRIALS = [
    trial(0, "complete", (0.9, 0.98), {40: 0.9, 120: 0.98}),
    trial(1, "failed", reason="loss is nan"),
    trial(2, "running", (), {20: 0.91}),
    trial(3, "paused", (0.85,), {40: 0.85}),
    trial(4, "running"),
]


def test_a_terminal_shows_how_the_sweep_stands():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            sweep.updated(TRIALS, {2: (24, 120)}, Work(184, 960, 1))

    shown = on_terminal(show)
    assert "waiting 3  running 2  paused 1  complete 1  failed 1" in shown
    assert "best 0.9800, trial 0, complete: learning_rate 0.001" in shown
    assert "184 of about 960 steps (19%), time left unknown; 1 compiled program" in shown
    assert re.search(r"2 +24 of 120 +\S+ +0\.9100 +learning_rate 0\.003", shown)
    assert re.search(r"4 +0 +by another worker +– +learning_rate 0\.005", shown)


def test_where_values_find_no_room_it_is_they_that_are_cut_off():
    many = {f"training.a_long_name_{number}": number for number in range(20)}

    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            running = replace(TRIALS[2], params=many)
            sweep.updated([running], {2: (24, 120)}, Work(184, 960, 1))

    shown = on_terminal(show, width=80)
    assert re.search(r"2 +24 of 120 +\S+ +0\.9100 +a_long_name_0 0, .*…\n", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_trial_that_waits_for_its_program_here_is_nobody_elses():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            sweep.updated(TRIALS, {2: (24, 120), 4: (0, 0)}, Work(184, 960, 1))

    shown = on_terminal(show)
    assert re.search(r"4 +0 +up next +– +learning_rate 0\.005", shown)
    assert "another worker" not in shown


def test_on_a_narrow_terminal_the_bar_gives_way_to_steps_and_metric():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            sweep.updated(TRIALS, {2: (24, 120), 4: (0, 0)}, Work(184, 960, 1))

    shown = on_terminal(show, width=40)
    assert re.search(r"2 +24 of 120 +\S+ +0\.9100", shown)
    assert re.search(r"4 +0 +up next +–", shown)
    assert max(map(len, shown.splitlines())) <= 40


def test_a_terminal_is_told_of_failures_and_nothing_else():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            sweep.updated([], {}, Work(0, 960, 0))
            sweep.updated(TRIALS, {}, Work(100, 960, 1))
            sweep.lines(["the end"])

    shown = on_terminal(show)
    assert "trial 1 failed: loss is nan" in shown
    assert "trial 0 complete" not in shown
    assert "the end" in shown


def test_many_running_trials_fit_the_terminal():
    def show(console):
        sweep = SweepConsole(200, ACCURACY, console)
        with sweep.live():
            sweep.updated([trial(number, "running") for number in range(50)], {}, Work(0, 9, 1))

    shown = on_terminal(show, height=16, width=60)
    assert "and 44 more" in shown
    assert re.findall(r"(\d+) +0 +by another worker", shown)[:6] == ["0", "1", "2", "3", "4", "5"]
    assert not re.search(r"\b6 +0 +by another worker", shown)
    assert max(map(len, shown.splitlines())) <= 60


def test_a_terminal_is_written_to_four_times_a_second_at_most():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            for done in range(1000):
                sweep.updated(TRIALS, {2: (done, 1000)}, Work(done, 1000, 1))

    assert on_terminal(show).count("compiled program") <= 20  # 1,000 looks take less than 5 seconds


@pytest.mark.parametrize(
    ("done", "seconds", "left", "text"),
    [
        (0, 10, 400, "time left unknown"),
        (600, 10, 400, "7 s left"),
        (150, 60, 850, "6 min left"),  # 340 seconds
        (20, 600, 980, "8 h 10 min left"),  # 29,400 seconds
        (20, 600, 0, "0 s left"),
    ],
)
def test_the_steps_left_take_as_long_as_those_that_were_done(done, seconds, left, text):
    assert time_left(done, seconds, left) == text


def test_what_another_process_has_done_is_not_this_ones_pace():
    def show(console):
        sweep = SweepConsole(8, ACCURACY, console)
        with sweep.live():
            sweep.updated(TRIALS, {}, Work(1_000_000, 1_002_000, 1))
            time.sleep(0.5)
            sweep.updated(TRIALS, {}, Work(1_000_100, 1_002_000, 1))  # 100 steps in half a second, 1,900 are left

    (seconds,) = set(re.findall(r", (\d+) s left", on_terminal(show)))
    assert int(seconds) >= 9  # 19 times what the sleep took; by the steps of both processes, milliseconds

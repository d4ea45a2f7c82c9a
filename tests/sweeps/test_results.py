"""A sweep's results in words: the best trials first, a row for each, and why some failed."""

import csv

from flaxcnn.sweeps.report.results import measured, ranked, short_names, summary_lines, write_csv
from flaxcnn.sweeps.trials import Status, Trial
from tests.sweeps.metrics import ACCURACY, LOSS

RATE, NAME, MOMENTUM = "optimizer.learning_rate", "optimizer.name", "optimizer.momentum"


def trial(number, status, *scores, **more):
    return Trial(number, {RATE: 0.1 + number, NAME: "adam"}, Status(status), scores=scores, **more)


def test_complete_trials_come_first_by_their_last_score_and_the_lower_number_of_equal_ones():
    trials = [
        trial(0, "complete", 0.9, 0.95),
        trial(1, "stopped", 0.99),
        trial(2, "complete", 0.1, 0.97),
        trial(3, "complete", 0.97),
    ]
    assert [each.number for each in ranked(reversed(trials))] == [2, 3, 0, 1]


def test_other_trials_come_by_the_rung_that_they_reached_before_their_score_and_failed_ones_last():
    trials = [
        trial(0, "failed", 0.9, 0.95, 0.99),
        trial(1, "stopped", 0.98),
        trial(2, "paused", 0.5, 0.6),
        trial(3, "stopped", 0.99),
        trial(4, "running", 0.7, first_rung=1),  # has ended two rungs, its parent's among them
    ]
    assert [each.number for each in ranked(trials)] == [4, 2, 3, 1, 0]


def test_a_loss_is_read_as_it_was_measured():
    assert measured(trial(0, "complete", -2.5, -0.25), LOSS) == 0.25
    assert measured(trial(0, "complete", 0.5), ACCURACY) == 0.5
    assert measured(trial(0, "running"), LOSS) is None


def test_the_csv_has_a_row_for_each_trial_and_every_searched_field(tmp_path):
    trials = [
        Trial(1, {RATE: 1 / 3, NAME: "sgd", MOMENTUM: 0.5}, Status.FAILED, seconds=2, reason='loss is "nan", step 7'),
        Trial(
            number=0,
            params={RATE: 1e-05, NAME: "adam"},
            status=Status.COMPLETE,
            scores=(-0.5, -0.25),
            reports={10: 0.5, 20: 0.25},
            seconds=1.5,
        ),
        Trial(2, {RATE: 0.1, NAME: None}, Status.RUNNING, first_rung=1, parent=0),
    ]
    path = tmp_path / "sweep.csv"
    write_csv(trials, [RATE, NAME, MOMENTUM], LOSS, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    head = ["number", "status", "rung", "validation_loss", "steps", "seconds", "parent", RATE, NAME, MOMENTUM, "reason"]
    assert list(rows[0]) == head
    assert list(rows[0].values()) == ["0", "complete", "2", "0.25", "20", "1.500", "", "1e-05", "adam", "", ""]
    assert list(rows[1].values()) == [
        *("1", "failed", "0", "", "0", "2.000", "", "0.3333333333333333", "sgd", "0.5", 'loss is "nan", step 7')
    ]
    assert list(rows[2].values()) == ["2", "running", "1", "", "0", "0.000", "0", "0.1", "None", "", ""]


def test_short_names_tell_fields_apart():
    assert short_names([RATE, NAME, "model.name"]) == {RATE: "learning_rate", NAME: "optimizer", "model.name": "model"}
    alike = ["logging.every", "checkpoint.every"]
    assert short_names(alike) == {path: path for path in alike}


def test_the_summary_counts_ranks_the_best_ten_and_gives_each_reason_with_its_trials():
    trials = [trial(number, "complete", number / 100, reports={40: 0.0}) for number in range(12)]
    trials += [trial(12, "failed", reason="out of memory"), trial(13, "failed", reason="loss is nan")]
    trials += [trial(14, "failed", 0.99, reason="out of memory")]
    lines = summary_lines(trials, ACCURACY)
    assert lines[0] == "15 trials: 12 complete, 3 failed"
    table = [line.split() for line in lines[2:13]]
    assert table[0] == ["trial", "status", "validation", "accuracy", "steps", "learning_rate", "optimizer"]
    assert table[1] == ["11", "complete", "0.1100", "40", "11.1", "adam"]
    assert [row[0] for row in table[1:]] == [f"{number}" for number in range(11, 1, -1)]
    assert lines[13:] == ["", "failed: trials 12, 14: out of memory", "failed: trial 13: loss is nan"]


def test_a_sweep_of_which_nothing_is_known_is_summed_up_too():
    assert summary_lines([], LOSS) == ["0 trials: none began"]
    assert summary_lines([trial(0, "running")], "validation_loss") == ["1 trial: 1 running"]

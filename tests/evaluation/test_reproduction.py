"""Numbers over seeds: their mean, spread and interval, and whether they are what was expected or printed."""

import pytest
from scipy import stats

from flaxcnn.config import Expectation, PublishedRow
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.reproduction import compared_rows, reported, reported_table, rows_table
from flaxcnn.evaluation.table import LoggedRow

ACCURACIES = [0.97, 0.98, 0.984]
SUMMARIES = [
    {"name": "x", "seed": seed, "parameters": 5, "test_accuracy": accuracy, "test_loss": 0.1 * seed, "digest": "ab"}
    for seed, accuracy in enumerate(ACCURACIES)
]


def row(step, loss, accuracy):
    return LoggedRow(step, 0, loss, accuracy, None, None, 0.001, 1, 1, 1)


def test_every_number_has_its_mean_and_students_interval():
    numbers = {each.metric: each for each in reported(SUMMARIES, [])}
    assert set(numbers) == {"test_accuracy", "test_loss"}
    found = numbers["test_accuracy"].over_seeds
    mean, deviation = sum(ACCURACIES) / 3, stats.tstd(ACCURACIES)
    low, high = stats.t.interval(0.95, 2, mean, deviation / 3**0.5)
    assert found == pytest.approx((mean, deviation, low, high))


@pytest.mark.parametrize(
    ("expectation", "holds"),
    [
        (Expectation("test_accuracy", 0.977), True),
        (Expectation("test_accuracy", 0.979), False),  # the mean is 0.978
        (Expectation("test_accuracy", at_most=0.977), False),
        (Expectation("test_accuracy", 0.9, 0.98), True),
    ],
)
def test_an_expectation_is_of_the_mean(expectation, holds):
    first = reported(SUMMARIES, [expectation])[0]
    assert first.metric == "test_accuracy"
    assert first.as_expected is holds
    assert ("**no**" in reported_table([first])) is not holds


def test_an_expectation_of_a_number_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"test_acuracy: expected of a number that no run reports\. Did you mean"):
        reported(SUMMARIES, [Expectation("test_acuracy", 0.9)])


def test_a_papers_number_is_typical_where_95_percent_of_runs_lie():
    runs = [[row(0, 2.30, 0.10)], [row(0, 2.31, 0.12)], [row(0, 2.29, 0.11)]]
    half = stats.t.ppf(0.975, 2) * 0.01 * (1 + 1 / 3) ** 0.5
    (inside,) = compared_rows(runs, [PublishedRow(0, 2.3 + half - 0.001, 0.12)])
    assert inside.loss_of_a_run == pytest.approx((2.3 - half, 2.3 + half))
    assert inside.typical == [True, True]
    (outside,) = compared_rows(runs, [PublishedRow(0, 2.3 + half + 0.001, None)])
    assert outside.typical == [False]
    assert compared_rows(runs, [])[0].typical == []


def test_the_rows_table_has_dashes_where_nothing_was_printed_or_measured():
    runs = [[row(0, 2.30, None), row(50, 0.5, None)], [row(0, 2.32, None), row(50, 0.7, None)]]
    lines = rows_table(compared_rows(runs, [PublishedRow(50, None, 0.83)])).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("0", "0", "2.3100", "2.0899 to 2.5301", "–", "–", "–", "–")  # 12.706 · 0.014142 · √1.5
    ]
    assert lines[3].split("|")[-2].strip() == "0.83"

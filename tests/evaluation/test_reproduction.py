"""Numbers over seeds: their mean, spread and interval, and whether they are what was expected or printed."""

import math

import numpy as np
import pytest
from scipy import stats

from flaxcnn.config import Expectation, PublishedRow
from flaxcnn.errors import ConfigError
from flaxcnn.evaluation.reproduction import (
    compared_rows,
    judgement,
    outside_of_the_others,
    reported,
    reported_table,
    require_possible,
    rows_table,
)
from flaxcnn.evaluation.table import LoggedRow
from flaxcnn.tasks import Metric

ACCURACIES = [0.97, 0.98, 0.984]
SUMMARIES = [
    {"name": "x", "seed": seed, "parameters": 5, "test_accuracy": accuracy, "test_loss": 0.1 * seed, "digest": "ab"}
    for seed, accuracy in enumerate(ACCURACIES)
]


def row(step, loss, accuracy):
    return LoggedRow(step, 0, loss, {"test_accuracy": accuracy}, 0.001, 1, 1, 1)


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
    # One further accuracy lies in mean ± t·s·√(1 + 1/n), and the logarithm of one further loss.
    runs = [[row(0, math.exp(0.8), 0.10)], [row(0, math.exp(0.9), 0.12)], [row(0, math.exp(0.7), 0.11)]]
    reach = stats.t.ppf(0.975, 2) * (1 + 1 / 3) ** 0.5
    low, high = math.exp(0.8 - 0.1 * reach), math.exp(0.8 + 0.1 * reach)
    (inside,) = compared_rows(runs, [PublishedRow(0, high - 0.001, 0.12)], "test_accuracy")
    assert inside.loss_of_a_run == pytest.approx((low, high))
    assert inside.metric_of_a_run == pytest.approx((0.11 - 0.01 * reach, 0.11 + 0.01 * reach))
    assert inside.compared == [("loss", high - 0.001, True), ("metric", 0.12, True)]
    (outside,) = compared_rows(runs, [PublishedRow(0, low - 0.001, None)], "test_accuracy")
    assert outside.compared == [("loss", low - 0.001, False)]
    rounded = round(0.11 + 0.01 * reach + 0.004, 2)  # outside, but by less than half of its last digit
    assert compared_rows(runs, [PublishedRow(0, None, rounded)], "test_accuracy")[0].compared == [
        ("metric", rounded, True)
    ]
    assert compared_rows(runs, [], "test_accuracy")[0].compared == []


def test_a_loss_of_0_has_no_logarithm_and_is_held_against_the_losses_themselves():
    runs = [[row(0, loss, None)] for loss in (0.0, 0.1, 0.2)]
    reach = stats.t.ppf(0.975, 2) * (1 + 1 / 3) ** 0.5
    assert compared_rows(runs, [], "test_accuracy")[0].loss_of_a_run == pytest.approx(
        (0.1 - 0.1 * reach, 0.1 + 0.1 * reach)
    )


def test_the_judgement_names_what_lies_outside_and_how_many_would_by_chance():
    runs = [[row(0, loss, 0.12), row(50, 0.5 * loss, 0.8)] for loss in (2.29, 2.30, 2.31, 2.305, 2.295)]
    said = judgement(runs, [PublishedRow(0, 2.3034, 0.12), PublishedRow(50, 3.0, 0.8)], "test_accuracy")
    assert said.startswith(
        "Of the 4 numbers on record from the paper, 3 lie where 95 % of single runs do, outside lie the loss of row 1 "
        "(3); by chance, 0.2 would be expected outside. The paper's run is one run"
    )
    assert "each of these 5 runs has 0 to 0 outside, 0.0 on average." in said
    assert "none lies outside" in judgement(runs, [PublishedRow(0, 2.3034, 0.12)], "test_accuracy")
    assert judgement(runs[:1], [PublishedRow(0, 2.3034, 0.12)], "test_accuracy") == ""
    assert judgement(runs, [PublishedRow(7, 2.3034, 0.12)], "test_accuracy") == ""


def test_a_run_that_differs_from_the_others_is_counted_outside_of_them():
    losses = [2.30, 2.31, 2.29, 2.305, 5.0]
    runs = [[row(0, loss, 0.10 + 0.001 * number)] for number, loss in enumerate(losses)]
    assert outside_of_the_others(runs, [PublishedRow(0, 2.3, 0.1)], "test_accuracy") == [0, 0, 0, 0, 1]
    assert outside_of_the_others(runs, [PublishedRow(0, None, 0.1)], "test_accuracy") == [0, 0, 0, 0, 0]


def test_of_independent_runs_5_percent_of_the_numbers_lie_outside_of_the_others():
    draw = np.random.default_rng(0)
    logged = [[row(step, math.exp(draw.normal()), draw.normal(0.5, 0.1)) for step in range(500)] for _ in range(8)]
    paper = [PublishedRow(step, 1.0, 0.5) for step in range(500)]
    outside = sum(outside_of_the_others(logged, paper, "test_accuracy")) / (8 * 1000)
    assert outside == pytest.approx(0.05, abs=0.015)  # a little less, since accuracies are rounded to 0.01


def test_the_rows_table_has_dashes_where_nothing_was_printed_or_measured():
    runs = [[row(0, 2.30, None), row(50, 0.5, None)], [row(0, 2.32, None), row(50, 0.7, None)]]
    lines = rows_table(
        compared_rows(runs, [PublishedRow(50, None, 0.83)], "test_accuracy"), "test_accuracy", 1
    ).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("0", "0", "2.3100", "2.1001 to 2.5409", "–", "–", "–", "–")  # exp(ln 2.31 ± 12.706 · 0.0061 · √1.5)
    ]
    assert lines[3].split("|")[-2].strip() == "0.83"


def test_percent_printed_for_a_fraction_is_refused_and_any_number_of_another_metric_is_not():
    rows = [PublishedRow(0, 2.3, None), PublishedRow(50, None, 1.0), PublishedRow(100, 0.5, 12)]
    with pytest.raises(ConfigError) as refused:
        require_possible(rows, "accuracy", Metric(higher_is_better=True, fraction=True))
    assert (refused.value.where, refused.value.found) == ("published[2]", 12)
    require_possible(rows, "rmse", Metric(higher_is_better=False))

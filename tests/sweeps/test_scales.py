"""Where values stand along an axis: as the domain says, and a metric so that the good ones lie apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.sweeps.report.scales import domain_scale, metric_scale
from flaxcnn.sweeps.space import Choice, Float, Int, When
from tests.sweeps.metrics import ACCURACY, ERROR_RATE, LOSS, R2


def texts(scale):
    return [text for _, text in scale.ticks]


def test_a_logarithmic_domain_has_equal_ratios_at_equal_distances():
    scale = domain_scale(Float(1e-4, 1e-1, log=True))
    assert [scale.place(value) for value in (1e-4, 1e-3, 1e-2, 1e-1)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert texts(scale) == ["0.0001", "0.001", "0.01", "0.1"]


def test_a_linear_domain_has_equal_differences_at_equal_distances():
    scale = domain_scale(Float(0, 0.5))
    assert scale.place(0.125) == pytest.approx(0.25)
    assert texts(scale) == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]


def test_options_stand_in_the_middle_of_equal_shares():
    scale = domain_scale(Choice("adam", None, True, 0.5))
    assert scale.ticks == [(0.125, "adam"), (0.375, "None"), (0.625, "True"), (0.875, "0.5")]
    assert scale.place(None) == 0.375


def test_beside_whole_numbers_stand_whole_numbers_and_of_few_all_of_them():
    assert texts(domain_scale(Int(1, 3))) == ["1", "2", "3"]
    assert texts(domain_scale(Int(32, 96, step=32))) == ["32", "64", "96"]
    assert texts(domain_scale(Int(5, 5))) == ["5"]
    assert domain_scale(Int(5, 5)).place(5) == 0.5
    assert all("." not in text for text in texts(domain_scale(Int(1, 19))))


def test_a_conditional_field_has_the_scale_of_its_domain():
    assert texts(domain_scale(When("optimizer.name", "sgd", Choice(1, 2)))) == ["1", "2"]


def test_accuracies_that_span_much_stand_by_the_logarithm_of_their_error():
    scale = metric_scale([0.1, 0.9, 0.99, 0.5], ACCURACY)
    assert scale.place(0.9) == pytest.approx(math.log(0.9 / 0.1) / math.log(0.9 / 0.01))
    assert texts(scale) == ["0.5", "0.8", "0.9", "0.95", "0.98", "0.99"]


def test_a_perfect_accuracy_and_a_loss_of_zero_have_a_place():
    scale = metric_scale([0.1, 1.0], ACCURACY)
    assert (scale.place(0.1), scale.place(1.0)) == (0, 1)
    scale = metric_scale([0.0, 2.0], LOSS)
    assert (scale.place(0.0), scale.place(0.5)) == (0, 0.25)


def test_metrics_that_span_little_stand_as_they_are():
    assert metric_scale([0.98, 0.984], ACCURACY).place(0.981) == pytest.approx(0.25)
    assert metric_scale([0.1, 0.3], LOSS).place(0.15) == pytest.approx(0.25)
    assert metric_scale([0.01, 1.0], LOSS).place(0.1) == pytest.approx(0.5)
    assert metric_scale([0.5], LOSS).ticks == [(0.5, "0.5")]


def test_the_axis_of_a_number_whose_best_is_the_highest_is_linear_but_for_a_fraction():
    assert metric_scale([-3.0, 1.0], R2).place(0.0) == pytest.approx(0.75)
    assert metric_scale([0.01, 1.0], R2).place(0.505) == pytest.approx(0.5)


def test_a_fraction_whose_best_is_the_lowest_stands_by_its_own_logarithm():
    scale = metric_scale([0.001, 0.1], ERROR_RATE)
    assert scale.place(0.01) == pytest.approx(0.5)
    assert texts(scale)[0] == "0.001"
    assert metric_scale([0.0, 0.5], ERROR_RATE).place(0.25) == pytest.approx(0.5)


numbers = st.floats(1e-12, 1e12)


@given(ends=st.tuples(numbers, numbers).filter(lambda ends: ends[0] < ends[1]), log=st.booleans())
def test_ticks_stand_on_the_axis_rise_and_are_few(ends, log):
    for scale in (domain_scale(Float(*ends, log=log)), metric_scale(ends, LOSS)):
        positions = [place for place, _ in scale.ticks]
        assert 1 <= len(positions) <= 16
        assert positions == sorted(positions)
        assert all(-1e-6 <= place <= 1 + 1e-6 for place in positions)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_better_accuracies_never_stand_lower(accuracies):
    scale = metric_scale(accuracies, ACCURACY)
    positions = [scale.place(accuracy) for accuracy in sorted(accuracies)]
    assert positions == sorted(positions)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in positions)

"""The areas are scikit-learn's, with tied scores and with examples that count several times or not at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from flaxcnn.tasks.ranking import Ranking, average_precision, roc_auc


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 8), st.lists(st.integers(0, 3), min_size=2, max_size=2)), min_size=1
    )
)
def test_examples_count_as_scikit_learns_weights_say(examples):
    positive, scores = np.asarray([each[0] for each in examples]), np.asarray([each[1] for each in examples]) / 8
    counts = np.asarray([each[2] for each in examples], np.int32).T
    areas, precisions = Ranking(positive, scores).areas(counts)
    for row, area, precision in zip(counts, areas, precisions, strict=True):
        if not row[positive].any() or not row[~positive].any():
            assert np.isnan(area)
            assert np.isnan(precision)
            continue
        assert area == pytest.approx(roc_auc_score(positive, scores, sample_weight=row), rel=1e-9)
        assert precision == pytest.approx(average_precision_score(positive, scores, sample_weight=row), rel=1e-9)


def test_scores_that_are_all_the_same_rank_nothing():
    positive = np.asarray([True, False, False, False])
    assert roc_auc(positive, np.zeros(4)) == 0.5
    assert average_precision(positive, np.zeros(4)) == 0.25  # the only threshold's precision


def test_a_ranking_turned_round_has_one_minus_the_area():
    generator = np.random.default_rng(0)
    positive, scores = generator.random(100) < 0.3, generator.random(100)
    assert roc_auc(positive, -scores) == pytest.approx(1 - roc_auc(positive, scores))


@pytest.mark.parametrize("every_example", [True, False])
def test_a_class_of_all_or_no_examples_has_no_area(every_example):
    assert np.isnan(roc_auc(np.full(3, every_example), np.arange(3.0)))
    assert np.isnan(average_precision(np.full(3, every_example), np.arange(3.0)))

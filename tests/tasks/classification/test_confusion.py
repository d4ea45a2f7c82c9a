"""The confusion matrix is scikit-learn's, and the mistakes shown are the most confident ones."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import confusion_matrix as scikit_learns

from flaxcnn.tasks.classification.confusion import confusion_matrix, most_confident_mistakes


def test_the_matrix_is_scikit_learns():
    generator = np.random.default_rng(0)
    logits, labels = generator.standard_normal((500, 7)), generator.integers(0, 5, 500)  # two classes have no examples
    np.testing.assert_array_equal(
        confusion_matrix(labels, logits), scikit_learns(labels, logits.argmax(1), labels=range(7))
    )


def test_mistakes_come_by_falling_probability_and_hold_no_correct_example():
    generator = np.random.default_rng(0)
    logits, labels = generator.standard_normal((200, 4)).astype(np.float32), generator.integers(0, 4, 200)
    wrong = [index for index in range(200) if logits[index].argmax() != labels[index]]
    by_hand = sorted(((softmax(logits[index].astype(float)).max(), index) for index in wrong), reverse=True)
    found = most_confident_mistakes(labels, logits, 10)
    assert [mistake.example for mistake in found] == [index for _, index in by_hand[:10]]
    for mistake, (probability, index) in zip(found, by_hand, strict=False):
        assert mistake.probability == pytest.approx(probability)
        assert (mistake.label, mistake.predicted) == (labels[index], logits[index].argmax())


def test_huge_logits_overflow_nothing():
    (mistake,) = most_confident_mistakes(np.asarray([0]), np.asarray([[-1e30, 1e30]]), 5)
    assert mistake == (0, 0, 1, 1.0)


def test_a_perfect_model_has_no_mistakes():
    assert most_confident_mistakes(np.arange(3), np.eye(3), 5) == []

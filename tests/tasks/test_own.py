"""The task of one's own that docs/tasks.md shows trains, and measures as scikit-learn does."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as scikit_learn

import flaxcnn
from flaxcnn.errors import DataError
from flaxcnn.evaluation.intervals import bootstrap_intervals
from flaxcnn.tasks import Predicted, Task

DOC = Path(__file__).parents[2] / "docs" / "tasks.md"
GRADES = ("none", "some", "much", "all")


@pytest.fixture(scope="module")
def ordinal():
    """The task, as its block of Python defines it."""
    (block,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": "ordinal"}
    exec(block, names)
    return names["Ordinal"]()


def drawn(examples, seed):
    generator = np.random.default_rng(seed)
    grades = generator.integers(0, 4, examples).astype(np.int32)
    images = generator.integers(0, 40, (examples, 16, 16, 1)) + 60 * grades[:, None, None, None]
    return images.astype(np.uint8), grades


def test_it_learns_and_is_measured_with_intervals(ordinal, light_programs):
    (images, grades), (test_images, test_grades) = drawn(100, 0), drawn(60, 1)
    ordinal.check(grades, GRADES, "drawn")
    model = flaxcnn.create("paper_cnn", classes=ordinal.outputs(grades, GRADES))
    state = flaxcnn.create_state(model, flaxcnn.adam(3e-3), image_shape=(16, 16, 1), task=ordinal)
    for batch in np.tile(np.arange(100), 6).reshape(30, 20):
        state, metrics = flaxcnn.train_step(state, images[batch], grades[batch])
    assert {"loss", "grade_error", "accuracy"} < set(metrics)
    sums, predictions = flaxcnn.evaluate(model, state.variables, test_images, test_grades, task=ordinal)
    said = (np.asarray(predictions["above"]) > 0).sum(-1)
    expected = {
        "grade_error": scikit_learn.mean_absolute_error(test_grades, said),
        "accuracy": scikit_learn.accuracy_score(test_grades, said),
    }
    assert sums.measures == pytest.approx(expected)
    assert expected["grade_error"] < 0.5
    scores = ordinal.scores(Predicted(test_grades, {"above": np.asarray(predictions["above"])}, {}))
    kappa = scikit_learn.cohen_kappa_score(test_grades, said, weights="quadratic")
    assert scores.measure(np.ones((1, 60), np.int32))["kappa"][0] == pytest.approx(kappa)
    low, high = bootstrap_intervals(scores, ["kappa"], 60)["kappa"]
    assert low <= kappa <= high


def test_resampled_examples_count_as_scikit_learn_counts_copies(ordinal):
    generator = np.random.default_rng(0)
    truth, above = generator.integers(0, 4, 50), generator.normal(size=(50, 3))
    counts = generator.integers(0, 3, (5, 50))
    found = ordinal.scores(Predicted(truth, {"above": above}, {})).measure(counts)
    for row, times in enumerate(counts):
        pair = np.repeat(truth, times), np.repeat((above > 0).sum(-1), times)
        assert found["kappa"][row] == pytest.approx(scikit_learn.cohen_kappa_score(*pair, weights="quadratic"))
        assert found["accuracy"][row] == pytest.approx(scikit_learn.accuracy_score(*pair))


def test_grades_that_do_not_fit_are_refused(ordinal):
    for targets in (np.zeros(3, np.float32), np.int32([0, 4])):
        with pytest.raises(DataError) as refused:
            ordinal.check(targets, GRADES, "drawn")
        assert refused.value.where == "drawn targets"


def test_every_part_of_the_interface_is_described():
    text = DOC.read_text(encoding="utf-8")
    parts = [name for name in vars(Task) if not name.startswith("_")] + list(Task.__annotations__)
    assert len(parts) > 15
    for name in parts:
        assert re.search(rf"`{name}\b", text), name

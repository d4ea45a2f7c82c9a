"""A balanced epoch visits each class equally often, its examples by chance, as a function of (seed, epoch, labels)."""

import itertools
import pickle

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from flaxcnn.config import Experiment, Task, Training
from flaxcnn.data import BalancedOrder, Dataset, Loader, Split, epoch_order
from flaxcnn.errors import ConfigError
from flaxcnn.runs.given import Loaded
from flaxcnn.runs.setup import set_up
from flaxcnn.training.batches import ResidentSource, StreamedSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import single_device
from tests.data.test_order import philox_words

LABELS = np.repeat([0, 3, 1], [900, 70, 30]).astype(np.int32)  # nobody is of class 2
np.random.default_rng(0).shuffle(LABELS)
ORDER = BalancedOrder(LABELS)


def test_every_class_that_occurs_comes_equally_often_up_to_one():
    for epoch in range(4):
        counts = np.bincount(LABELS[ORDER(7, epoch, 1000)], minlength=4)
        assert sorted(counts) == [0, 333, 333, 334]
        assert counts[2] == 0
    most = {int(np.argmax(np.bincount(LABELS[ORDER(7, epoch, 1000)]))) for epoch in range(3)}
    assert most == {0, 1, 3}  # the one more goes round


def test_examples_of_a_class_are_as_likely_and_drawn_with_replacement():
    visited = np.concatenate([ORDER(3, epoch, 1000) for epoch in range(100)])
    for label in (0, 1, 3):
        members = np.flatnonzero(label == LABELS)
        counts = np.bincount(visited, minlength=1000)[members]
        assert chisquare(counts).pvalue > 1e-4
    in_one = np.bincount(ORDER(3, 0, 1000), minlength=1000)
    assert in_one[LABELS == 1].max() > 15  # 333 draws of 30
    assert (in_one[LABELS == 0] > 1).any()


def test_classes_are_spread_over_the_epoch():
    labels = LABELS[ORDER(1, 0, 1000)]
    for part in np.split(labels, 10):
        assert np.bincount(part, minlength=4)[[0, 1, 3]].min() > 15
    assert sum(a == b for a, b in itertools.pairwise(labels.tolist())) == pytest.approx(333, abs=75)


def test_anyone_can_recompute_it():
    labels, seed, epoch = [5, 2, 5, 5, 2, 9, 5], 11, 4
    picks = philox_words((seed, int.from_bytes(b"picking", "big")), [0, 0, 0, epoch], 7)
    members = {label: [place for place, each in enumerate(labels) if each == label] for label in (2, 5, 9)}
    expected = []
    for place, word in zip(epoch_order(seed, epoch, 7).tolist(), picks, strict=True):
        of_class = members[(2, 5, 9)[(place + epoch) % 3]]
        expected.append(of_class[word % len(of_class)])
    found = BalancedOrder(np.array(labels))(seed, epoch, 7)
    assert (found.tolist(), found.dtype) == (expected, np.int32)


def test_it_is_the_same_after_pickling_and_another_for_another_seed_or_epoch():
    first = ORDER(1, 0, 1000)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ORDER))(1, 0, 1000), first)
    assert not np.array_equal(first, ORDER(1, 1, 1000))
    assert not np.array_equal(first, ORDER(2, 0, 1000))


# --- in a training

IMAGES = np.arange(1000, dtype=np.uint16).view(np.uint8).reshape(1000, 1, 2, 1)
CALENDAR = StepCalendar.of(1000, batch_size=300, epochs=3, steps=None, log_every=50, save_every=1000, order=ORDER)


@pytest.mark.parametrize("source", [ResidentSource, lambda *arguments: StreamedSource(*arguments, workers=0)])
@pytest.mark.parametrize("first", [0, 4])
def test_each_source_gives_the_calendars_batches_also_from_a_step_within_an_epoch(source, first):
    batches = source(Split(IMAGES, LABELS), CALENDAR, 5, single_device())
    step = first
    while step < CALENDAR.total_steps:
        some = batches.batches(step)
        for each in range(step, min(some.end, CALENDAR.total_steps)):
            images, labels = jax.tree.map(np.asarray, some.batches.batch(np.int32(each)))
            expected = CALENDAR.batch(5, each)
            np.testing.assert_array_equal(images, IMAGES[expected])
            np.testing.assert_array_equal(labels, LABELS[expected])
        step = some.end
    batches.close()


def test_a_loader_for_one_of_two_processes_reads_its_part():
    options = {"seed": 5, "batch_size": 300, "first_step": 2, "total_steps": 4, "chunk_steps": 2, "order": ORDER}
    with Loader(IMAGES, LABELS, part=(150, 300), workers=0, **options) as loader:
        chunk = loader.next()
    for row, step in enumerate((2, 3)):
        np.testing.assert_array_equal(chunk.targets[row], LABELS[CALENDAR.batch(5, step)[150:]])


def loaded(targets, names=("a", "b", "c", "d")):
    split = Split(np.zeros((len(targets), 8, 8, 1), np.uint8), targets)
    return Loaded(Dataset("drawn", split, split, names, {}), split, None)


def test_an_experiment_asks_for_it_by_training_sampling():
    def calendar(**options):
        return set_up(Experiment(training=Training(batch_size=10, **options)), loaded(LABELS)).calendar

    np.testing.assert_array_equal(calendar(sampling="balanced").batch(0, 3), ORDER(0, 0, 1000)[30:40])
    np.testing.assert_array_equal(calendar().batch(0, 3), epoch_order(0, 0, 1000)[30:40])


def test_a_task_without_one_class_an_image_refuses_it():
    experiment = Experiment(task=Task(name="regression"), training=Training(batch_size=2, sampling="balanced"))
    with pytest.raises(ConfigError, match=r"training\.sampling: the task regression does not use it"):
        set_up(experiment, loaded(np.float32([[1], [2], [3], [4]]), ("grams",)))

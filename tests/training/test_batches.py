"""Batches are those that seed and step say, wherever the images lie."""

import jax
import numpy as np
import pytest

from flaxcnn.data import Split
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state
from flaxcnn.training.batches import ResidentSource, StreamedSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import single_device
from flaxcnn.training.loop import BlockRunner


@pytest.fixture(scope="module")
def train(small_split):
    return Split(*small_split)


@pytest.fixture
def calendar():
    # 3 steps an epoch
    return StepCalendar.of(1000, batch_size=300, epochs=40, steps=None, log_every=50, save_every=1000)


def batch_source_of(kind, train, calendar, workers=1):
    if kind == "resident":
        return ResidentSource(train, calendar, 5, single_device())
    return StreamedSource(train, calendar, 5, single_device(), workers)


@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_each_step_gets_the_batch_of_its_seed_and_number(train, calendar, kind):
    batch_source, step = batch_source_of(kind, train, calendar), 0
    while step < calendar.total_steps:
        upcoming = batch_source.batches(step)
        assert step < upcoming.end <= calendar.total_steps
        for each in range(step, upcoming.end):
            images, labels = upcoming.batches.batch(np.int32(each))
            examples = calendar.batch(5, each)
            np.testing.assert_array_equal(images, train.images[examples])
            np.testing.assert_array_equal(labels, train.targets[examples])
        step = upcoming.end
    batch_source.close()


@pytest.mark.parametrize("first", [1, 50, 64, 119])
def test_a_stream_that_begins_in_the_middle_gives_the_same_batches(train, calendar, first):
    batch_source = batch_source_of("streamed", train, calendar)
    upcoming = batch_source.batches(first)
    for each in (first, upcoming.end - 1):
        images, _ = upcoming.batches.batch(np.int32(each))
        np.testing.assert_array_equal(images, train.images[calendar.batch(5, each)])
    batch_source.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_training_ends_with_the_bits_of_a_resident_one(train, workers):
    calendar = StepCalendar.of(1000, batch_size=10, epochs=2, steps=150, log_every=40, save_every=1000)
    found = []
    for kind in ("resident", "streamed"):
        state = create_state(PaperCNN(), adam(), (28, 28, 1))
        batch_source = batch_source_of(kind, train, calendar, workers)
        runner, losses = BlockRunner(state, calendar, batch_source), []
        started = runner.start(state, 0)
        while started is not None:  # as a run does it: the next block is started before this one is looked at
            following = runner.start(started.state, started.end) if started.end < calendar.total_steps else None
            losses.extend(runner.finish(started).losses)
            state, started = started.state if following is None else following.state, following
        batch_source.close()
        found.append((np.array(losses), jax.device_get(state)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert len(found[0][0]) == 150
    for one, other in zip(jax.tree.leaves(found[0][1]), jax.tree.leaves(found[1][1]), strict=True):
        np.testing.assert_array_equal(one, other)

"""Blocks are cut where rows are logged, epochs end and the clock says; what is computed does not depend on it."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxcnn.data import Split, epoch_order
from flaxcnn.errors import ConfigError
from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state, loop, train_step
from flaxcnn.training.batches import ResidentSource
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.device_layout import single_device
from flaxcnn.training.loop import MOST_STEPS, BlockRunner
from tests.error_fields import fields


def test_the_papers_calendar_has_1200_steps_and_24_rows():
    calendar = StepCalendar.of(60_000, batch_size=50, epochs=1, steps=None, log_every=50, save_every=1000)
    assert (calendar.steps_per_epoch, calendar.total_steps) == (1200, 1200)
    assert [step for step in range(calendar.total_steps) if calendar.logged(step)] == list(range(0, 1200, 50))


def test_steps_end_a_run_only_before_its_epochs_do():
    assert StepCalendar.of(103, batch_size=10, epochs=2, steps=7, log_every=5, save_every=9).total_steps == 7
    assert StepCalendar.of(103, batch_size=10, epochs=2, steps=99, log_every=5, save_every=9).total_steps == 20


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ConfigError) as caught:
        StepCalendar.of(1000, batch_size=1001, epochs=1, steps=None, log_every=50, save_every=1000)
    assert fields(caught.value) == ("training.batch_size", "at most the 1,000 training images", "1001")


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 90)),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_cuts_fall_after_logged_steps_at_saves_and_at_the_ends_of_epochs(
    examples, batch_size, epochs, steps, every, save
):
    if batch_size > examples:
        return
    calendar = StepCalendar.of(
        examples, batch_size=batch_size, epochs=epochs, steps=steps, log_every=every, save_every=save
    )
    step, ends = 0, []
    while step < calendar.total_steps:
        assert calendar.next_cut(step) > step
        step = calendar.next_cut(step)
        ends.append(step)
    assert ends[-1] == calendar.total_steps
    logged = {number + 1 for number in range(calendar.total_steps) if number % every == 0}
    whole_epochs = set(range(examples // batch_size, calendar.total_steps + 1, examples // batch_size))
    saved = set(range(save, calendar.total_steps, save)) | {calendar.total_steps}
    assert set(ends) == logged | whole_epochs | saved
    assert {end for end in range(1, calendar.total_steps + 1) if calendar.saved(end)} == saved


@pytest.fixture(scope="module")
def train_split(small_split):
    return Split(*small_split)


def runner_of(state, train, calendar, seed):
    return BlockRunner(state, calendar, ResidentSource(train, calendar, seed, single_device()))


def new_state():
    return create_state(PaperCNN(), adam(), (28, 28, 1), seed=5)


def test_epochs_visit_the_examples_in_the_orders_of_the_seed(train_split):
    calendar = StepCalendar.of(1000, batch_size=300, epochs=2, steps=None, log_every=2, save_every=1000)
    state = new_state()
    runner, step, losses = runner_of(state, train_split, calendar, 5), 0, []
    while step < calendar.total_steps:
        block = runner.run(state, step)
        np.testing.assert_array_equal(calendar.batch(5, step), epoch_order(5, step // 3, 1000)[step % 3 * 300 :][:300])
        state, step = block.state, step + len(block.losses)
        losses.extend(block.losses)
        assert block.seconds > 0
        assert block.finite
    expected, by_hand = [], new_state()
    for epoch in (0, 1):
        order = epoch_order(5, epoch, 1000)
        for first in (0, 300, 600):  # the last 100 of an epoch fill no batch
            batch = order[first : first + 300]
            by_hand, metrics = train_step(by_hand, train_split.images[batch], train_split.targets[batch])
            expected.append(float(metrics["loss"]))
    assert losses == expected
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(by_hand.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_block_compiles_anything(train_split):
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compilations.append(name) if "backend_compile" in name else None
    )
    jax.jit(lambda x: 2 * x + 77)(1.0)
    assert compilations, "JAX reports no compilations under this name: the next check would pass on nothing"
    calendar = StepCalendar.of(1000, batch_size=50, epochs=2, steps=None, log_every=7, save_every=9)
    state = new_state()
    runner = runner_of(state, train_split, calendar, 0)
    before, step, lengths = len(compilations), 0, set()
    while step < calendar.total_steps:
        block = runner.run(state, step)
        state, step = block.state, step + len(block.losses)
        lengths.add(len(block.losses))
    assert len(compilations) == before
    assert len(lengths) > 1


def test_the_first_block_is_one_step_and_a_block_is_never_longer_than_wanted(train_split):
    calendar = StepCalendar.of(1000, batch_size=50, epochs=100, steps=None, log_every=10_000, save_every=10_000)
    state = new_state()
    runner, lengths, step = runner_of(state, train_split, calendar, 0), [], 1
    for most in (MOST_STEPS, 3, MOST_STEPS):
        block = runner.run(state, step, most)
        state, step = block.state, step + len(block.losses)
        lengths.append(len(block.losses))
    assert lengths[0] == 1
    assert lengths[1] <= 3
    assert lengths[2] <= 20  # the epoch's end


def test_a_block_that_was_started_before_a_fault_was_known_changes_nothing(small_split, monkeypatch):
    monkeypatch.setattr(loop, "BLOCK_SECONDS", 1000.0)  # blocks of the wanted length on a slow machine too
    images, labels = small_split[0].copy(), small_split[1]
    calendar = StepCalendar.of(1000, batch_size=50, epochs=2, steps=None, log_every=1000, save_every=1000)
    floats = images.astype(np.float32) / 255
    floats[calendar.batch(5, 7)[3], 5, 5, 0] = np.nan  # seen in step 7
    layout = single_device()

    class Floats(ResidentSource):
        def batches(self, step):
            upcoming = super().batches(step)
            return upcoming._replace(batches=upcoming.batches.replace(images=layout.put(floats)))

    state = new_state()
    runner = BlockRunner(state, calendar, Floats(Split(images, labels), calendar, 5, layout))
    good = runner.run(state, 0, 1)
    faulty = runner.start(good.state, 1, 19)
    after = runner.start(faulty.state, faulty.end, 19)  # from the end that the faulty one does not reach
    found, nothing = runner.finish(faulty), runner.finish(after)
    assert faulty.end == 20
    assert not found.finite
    assert len(found.losses) == 7  # the steps 1 to 7, the faulty one the last
    assert not nothing.finite
    assert len(nothing.losses) == 0
    assert int(nothing.state.step) == 7

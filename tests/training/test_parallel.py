"""Trials of one program against the runs that each training would be alone."""

import dataclasses

import jax
import numpy as np
import pytest

from flaxcnn.config import Augmentation, Data, Experiment, Model, Optimizer, Schedule, Training
from flaxcnn.runs.given import load
from flaxcnn.runs.setup import set_up
from flaxcnn.training.loop import BlockRunner
from flaxcnn.training.parallel import CohortTrials, Position, SingleTrial

pytestmark = pytest.mark.sweeps

STEPS = 100  # five epochs of the small set
RATES = (1e-4, 1e-3, 3e-3)


@pytest.fixture(scope="module")
def setups(small_mnist):
    """Three trainings that differ in values alone: rate, seed, smoothing, and strength of an augmentation."""
    base = Experiment(data=Data(source=f"idx:{small_mnist}"), training=Training(epochs=5))
    loaded = load(base)
    return [
        set_up(
            dataclasses.replace(
                base,
                optimizer=Optimizer(learning_rate=rate),
                augmentation=Augmentation(shift=1.0 + number),
                schedule=Schedule(name="cosine"),
                model=Model(dropout=0.1 * number),
                training=Training(epochs=5, seed=number, label_smoothing=0.05 * number),
            ),
            loaded,
        )
        for number, rate in enumerate(RATES)
    ]


def cohort(setup, count, how):
    images, labels = (setup.layout.put(np.asarray(each)) for each in (setup.train.images, setup.train.targets))
    return CohortTrials(setup.first_state(), setup.calendar.batch_size, images, labels, count, how, setup.layout)


def position(setup, step, end=STEPS):
    return Position(setup.calendar, setup.experiment.training.seed, step, end)


def trained(trials, setups, end=STEPS):
    """The losses of each trial, from its first state to a step."""
    losses = [np.zeros(0, np.float32) for _ in setups]
    for slot, setup in enumerate(setups):
        trials.put(slot, setup.first_state())
    while any(len(each) < end for each in losses):
        idle = [None] * (trials.count - len(setups))
        positions = [
            position(s, len(each), end) if len(each) < end else None for s, each in zip(setups, losses, strict=True)
        ]
        for slot, block in enumerate(trials.run([*positions, *idle])):
            if block is not None:
                assert block.finite
                losses[slot] = np.concatenate([losses[slot], block.losses])
    return losses


@pytest.fixture(scope="module")
def alone(setups):
    """The losses and the state of each training when it is run by itself."""
    results = []
    for setup in setups:
        runner, state, losses = (
            BlockRunner(setup.first_state(), setup.calendar, setup.batch_source(), setup.layout),
            None,
            [],
        )
        state = setup.first_state()
        while len(losses) < STEPS:
            block = runner.run(state, len(losses), STEPS - len(losses))
            state, losses = block.state, [*losses, *block.losses]
        results.append((np.asarray(losses), state))
    return results


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_trials_one_after_the_other_are_solo_runs_bit_for_bit(setups, alone):
    trials = cohort(setups[0], 4, "map")  # one more than there are trainings
    for slot, losses in enumerate(trained(trials, setups)):
        np.testing.assert_array_equal(losses, alone[slot][0])
        for ours, theirs in zip(leaves(trials.take(slot)), leaves(alone[slot][1]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_trials_all_at_once_are_solo_runs_up_to_rounding(setups, alone):
    trials = cohort(setups[0], 3, "vmap")
    for slot, losses in enumerate(trained(trials, setups)):
        # The sums of a convolution are taken in another order, and a training amplifies what is rounded otherwise:
        # over the first epoch next to nothing, over 100 steps more the higher the rate is.
        np.testing.assert_allclose(losses[:20], alone[slot][0][:20], rtol=1e-4)
        np.testing.assert_allclose(losses, alone[slot][0], rtol=0.05, atol=0.01)


def test_a_trial_goes_on_where_another_cohort_left_it(setups, alone):
    """States that were taken out at different steps, put into other slots of another cohort."""
    first = cohort(setups[0], 2, "map")
    trained(first, setups[:2], end=40)
    second = cohort(setups[0], 3, "map")
    second.put(2, first.take(0))
    second.put(0, setups[1].first_state())
    at = {2: 40, 0: 0}
    chosen = {2: setups[0], 0: setups[1]}
    while any(step < STEPS for step in at.values()):
        positions = [position(chosen[slot], at[slot]) if at.get(slot, STEPS) < STEPS else None for slot in range(3)]
        for slot, block in enumerate(second.run(positions)):
            if block is not None:
                at[slot] += len(block.losses)
    for slot, number in ((2, 0), (0, 1)):
        for ours, theirs in zip(leaves(second.take(slot)), leaves(alone[number][1]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_a_trial_that_is_not_finite_stands_before_the_faulty_step_and_disturbs_no_other(setups, how):
    bad = setups[1].first_state()
    bad = dataclasses.replace(
        bad,
        opt_state=bad.opt_state._replace(hyperparams={**bad.opt_state.hyperparams, "learning_rate": np.float32(3e38)}),
    )
    trials = cohort(setups[0], 2, how)
    trials.put(0, setups[0].first_state())
    trials.put(1, bad)
    steps, finite = [0, 0], [True, True]
    for _ in range(3):
        blocks = trials.run([position(setups[0], steps[0]), position(setups[1], steps[1]) if finite[1] else None])
        for slot, block in enumerate(blocks):
            if block is not None:
                steps[slot] += len(block.losses) - (not block.finite)
                finite[slot] = block.finite
    assert finite == [True, False]
    assert int(trials.take(1).step) == steps[1] < 2
    assert int(trials.take(0).step) == steps[0] >= 3


def test_a_single_trial_streams_what_does_not_fit_the_device(setups, alone):
    setup = setups[0]
    single = SingleTrial(setup.layout, lambda at: setup._replace(device_bytes=0).batch_source_for(at.calendar, at.seed))
    try:
        (losses,) = trained(single, [setup])
        np.testing.assert_array_equal(losses, alone[0][0])
        for ours, theirs in zip(leaves(single.take(0)), leaves(alone[0][1]), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        single.close()

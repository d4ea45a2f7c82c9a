"""A key follows from seed, purpose and position, and from nothing else."""

import itertools

import jax
import numpy as np

from flaxcnn.keys import Purpose, key_for


def words(*arguments):
    return tuple(np.asarray(jax.random.key_data(key_for(*arguments))).tolist())


def test_other_seeds_and_positions_give_other_keys_and_the_same_ones_the_same():
    uses = list(itertools.product(range(20), Purpose, range(50)))
    assert len({words(*use) for use in uses}) == len(uses)
    assert words(1, Purpose.WEIGHTS, 2) == words(1, Purpose.WEIGHTS, 2)


def test_a_position_may_be_a_traced_value():
    traced = jax.jit(lambda step: jax.random.key_data(key_for(3, Purpose.WEIGHTS, step)))(7)
    assert tuple(np.asarray(traced).tolist()) == words(3, Purpose.WEIGHTS, 7)

"""A state follows from its seed alone."""

import jax
import numpy as np

from flaxcnn.models.paper_cnn import PaperCNN
from flaxcnn.training import adam, create_state


def flat_params(seed):
    state = create_state(PaperCNN(), adam(), (28, 28, 1), seed=seed)
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(state.params)])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    np.testing.assert_array_equal(flat_params(3), flat_params(3))
    assert (flat_params(3) != flat_params(4)).mean() > 0.99


def test_a_state_starts_at_step_0_with_28938_parameters():
    state = create_state(PaperCNN(), adam(), (28, 28, 1))
    assert int(state.step) == 0
    # 5*5*1*16 + 16, 5*5*16*32 + 32, 1568*10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 416 + 12_832 + 15_690 == 28_938


def test_the_optimizers_settings_stand_in_the_state():
    state = create_state(PaperCNN(), adam(0.1, 0.2, 0.3, 0.4), (28, 28, 1))
    found = {name: float(value) for name, value in state.opt_state.hyperparams.items()}
    for name, value in {"learning_rate": 0.1, "b1": 0.2, "b2": 0.3, "eps": 0.4}.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)

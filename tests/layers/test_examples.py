"""Images and labels that do not fit end in one line: shapes and types when traced, values where chex has to look."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.experimental import checkify

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.evaluation import evaluate, sums_of
from flaxcnn.layers.examples import check_examples
from flaxcnn.tasks import Classification
from flaxcnn.training import Hyperparameters, adam, create_state, train_block, train_step
from flaxcnn.training.batches import ResidentBatches
from tests.error_fields import fields

CLASSES = 3
IMAGES = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2, 1)


class Linear(nn.Module):
    """One dense layer over the pixels."""

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = nn.Dense(CLASSES, name="head")(images.reshape(images.shape[0], -1))
        return logits, {"logits": logits}


def new_state(**options):
    return create_state(Linear(), adam(), (2, 2, 1), **options)


STATE = new_state()  # drawn by a program of its own, whatever the tests trace


def trained(images, labels, **options):
    return train_step(jax.tree.map(jnp.copy, STATE), images, labels, **options)


def evaluated(images, labels, **options):
    return evaluate(Linear(), STATE.variables, images, labels, **options)


@pytest.mark.parametrize("function", [trained, evaluated])
@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (IMAGES, np.zeros(1, int), ("targets", "(4,)", "(1,)")),
        (IMAGES, np.zeros(5, int), ("targets", "(4,)", "(5,)")),
        (IMAGES, 2, ("targets", "(4,)", "()")),
        (
            IMAGES,
            np.eye(3)[[0, 1, 2, 0]],
            ("labels", "(4,)", "(4, 3)"),
        ),
        (
            IMAGES,
            np.zeros((4, 1), int),
            ("labels", "(4,)", "(4, 1)"),
        ),
        (IMAGES, np.zeros(4), ("labels", "integers", "float32")),
        (IMAGES, np.zeros(4, bool), ("labels", "integers", "bool")),
        (
            IMAGES[0],
            np.zeros(4, int),
            ("images", "(B, H, W, C)", "(2, 2, 1)"),
        ),
        (
            IMAGES[:0],
            np.zeros(0, int),
            ("images", "every dimension at least 1", "(0, 2, 2, 1)"),
        ),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_one_line_when_traced(function, images, labels, told):
    for traced in (function, partial(jax.eval_shape, function)):
        with pytest.raises(DataError) as refused:
            traced(jnp.asarray(images), jnp.asarray(labels))
        assert fields(refused.value) == told


def test_of_several_targets_the_one_that_has_not_a_row_for_each_image_is_named():
    with pytest.raises(DataError) as refused:
        check_examples(IMAGES, {"species": np.zeros(4, int), "leaf": {"area": np.zeros(3)}})
    assert (refused.value.where, refused.value.expected, refused.value.found) == ("targets/leaf/area", (4,), (3,))
    check_examples(IMAGES, {"species": np.zeros(4, int), "leaf": {"area": np.zeros((4, 2))}})


@pytest.mark.parametrize("function", [trained, evaluated])
def test_pixels_whose_range_is_not_known_are_refused(function):
    with pytest.raises(TypeError, match="expected uint8 or floating-point pixels, found int32"):
        function(IMAGES.astype(np.int32), np.zeros(4, int))


@pytest.mark.parametrize("wrong", [-1, CLASSES, 200])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_a_label_out_of_range_makes_the_loss_nan_and_the_step_not_finite(wrong, dtype):
    """-1 would be the last class, as NumPy counts from the end."""
    labels = np.asarray([0, 1, wrong, 2]).astype(dtype)
    _, metrics = trained(IMAGES, labels)
    assert np.isnan(metrics["loss"])
    assert not metrics["finite"]
    sums, found = evaluated(IMAGES, labels)
    assert np.isnan(sums.loss)
    assert int(sums.statistics["correct"]) == int((found["logits"].argmax(-1) == labels).sum())


def test_a_block_of_steps_ends_before_a_label_that_is_out_of_range():
    labels = np.asarray([0, 1, -1, 2], np.int32)
    batches = ResidentBatches(jnp.asarray(IMAGES), jnp.asarray(labels), jnp.arange(4), jnp.int32(0), batch_size=2)
    state, losses, metrics = train_block(new_state(), batches, jnp.int32(2), most_steps=2)
    assert np.isnan(losses[1])
    assert (int(state.step), bool(metrics["finite"])) == (1, False)


def test_labels_beyond_the_first_examples_play_no_part():
    sums, _ = evaluated(IMAGES, np.asarray([0, 1, -1, 7]), examples=2)
    assert np.isfinite(sums.loss)
    assert int(sums.examples) == 2


def test_no_example_is_not_a_division_by_zero():
    sums, _ = evaluated(IMAGES, np.zeros(4, int), examples=0)
    for number in ("measures", "mean_loss"):
        with pytest.raises(DataError, match="no images to average over; expected at least one evaluated image, fou"):
            getattr(sums, number)


def test_a_batch_of_no_images_to_evaluate_at_once_is_refused():
    with pytest.raises(ConfigError, match="batch_size: out of range; expected at least 1, found 0"):
        evaluated(IMAGES, np.zeros(4, int), batch_size=0)


def test_a_batch_that_does_not_divide_into_the_states_parts_is_refused():
    with pytest.raises(DataError, match="expected a multiple of the state's accumulate, 3, found 4"):
        train_step(new_state(accumulate=3), IMAGES, np.zeros(4, int))


def test_class_weights_of_another_number_of_classes_are_refused():
    state = new_state(hyperparameters=Hyperparameters.of(class_weights=[1.0, 2.0]))
    with pytest.raises(DataError, match=r"class_weights: not one weight per class; expected \(3,\), found \(2,\)"):
        train_step(state, IMAGES, np.zeros(4, int))


def test_sums_need_a_label_for_each_row_of_logits():
    with pytest.raises(DataError, match=r"labels: not one label for each image; expected \(4,\), found \(1,\)"):
        sums_of(Classification(), {}, jnp.zeros((4, 3)), jnp.zeros(1, int), jnp.ones(4, bool))


def test_a_step_that_checks_no_values_has_no_side_effects():
    """An effect in the program, and be it of a check that is dropped, takes half a millisecond of each dispatch."""
    labels = jnp.zeros(4, int)
    assert not jax.make_jaxpr(trained)(IMAGES, labels).effects
    assert jax.make_jaxpr(partial(trained, check_targets=True))(IMAGES, labels).effects


FUNCTIONS = {"trained": trained, "evaluated": evaluated}  # by name, since a test's name must not hold an address


class ChexTest(chex.TestCase):
    """What chex's users do: variants with and without jit, and `chexify` around the outermost function."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("trained", "evaluated")
    def test_labels_in_range_pass(self, function):
        function = FUNCTIONS[function]
        labels = jnp.asarray([0, 1, 2, 0])
        checked = chex.chexify(self.variant(partial(function, check_targets=True)), async_check=False)
        chex.assert_trees_all_equal(checked(IMAGES, labels), self.variant(function)(IMAGES, labels))

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(function=("trained", "evaluated"), wrong=(-1, CLASSES))
    def test_a_label_out_of_range_is_named(self, function, wrong):
        function = FUNCTIONS[function]
        checked = chex.chexify(self.variant(partial(function, check_targets=True)), async_check=False)
        with pytest.raises(ValueError, match=f"labels: out of range; expected 0 to 2, found {wrong} "):
            checked(IMAGES, jnp.asarray([0, 1, wrong, 7]))

    @parameterized.parameters("trained", "evaluated")
    def test_chexify_tells_of_it_when_it_is_asked_to_wait(self, function):
        function = FUNCTIONS[function]
        checked = chex.chexify(partial(function, check_targets=True))
        checked(IMAGES, jnp.asarray([0, 1, 2, 3]))
        with pytest.raises(ValueError, match="labels: out of range; expected 0 to 2, found 3 "):
            checked.wait_checks()

    @parameterized.parameters("trained", "evaluated")
    def test_checkify_and_eager_execution_find_it_too(self, function):
        function = FUNCTIONS[function]
        labels = jnp.asarray([0, 1, 2, -9])
        error, _ = checkify.checkify(partial(function, check_targets=True))(IMAGES, labels)
        assert "found -9" in error.get()
        with jax.disable_jit(), pytest.raises(ValueError, match="found -9"):
            function(IMAGES, labels, check_targets=True)

    @parameterized.parameters("trained", "evaluated")
    def test_a_program_with_checks_that_nobody_reads_is_refused(self, function):
        function = FUNCTIONS[function]
        with pytest.raises(ValueError, match="checkify"):
            function(IMAGES, jnp.zeros(4, int), check_targets=True)

"""Programs for other machines: what `jax.export` lowers here for a GPU and a TPU, and for a CPU without our kernels.

No accelerator is needed to lower a program. What is looked for is what only the lowering for another platform shows: a
call that only a CPU has, a call back to Python, or a convolution that is written for the CPU's sake in another way.
"""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import flaxcnn
from flaxcnn.models import contract_path
from flaxcnn.runs.recipe import augmentations_of, mixing_of
from flaxcnn.tasks import Classification, Multilabel, Regression, Several
from flaxcnn.training import adamw, train_block
from flaxcnn.training.batches import ResidentBatches
from flaxcnn.training.hyperparameters import Hyperparameters
from flaxcnn.training.loop import MOST_STEPS
from tests.every_augmentation import EVERYTHING
from tests.zoo import each

PLATFORMS = ("cpu", "cuda", "tpu")
ALLOWED: dict[str, str] = {}  # custom calls that a program may hold, by name, each with the reason; today there is none
EXAMPLES, BATCH = 12, 4

CLASSES = np.arange(EXAMPLES, dtype=np.int32) % 3
TAGS = np.arange(EXAMPLES * 3).reshape(EXAMPLES, 3) % 2 == 0
SIZES = np.linspace(0, 1, EXAMPLES * 2, dtype=np.float32).reshape(EXAMPLES, 2)
KINDS, COLOURS, AXES = ("cat", "dog", "elk"), ("red", "green", "blue"), ("height", "width")
TASKS = {  # with targets and their names
    "classification": (Classification(), CLASSES, KINDS),
    "multilabel": (Multilabel(), TAGS, COLOURS),
    "regression": (Regression("huber", 1.0), SIZES, AXES),
    "several": (
        Several.of(
            ("species=classification", "tags=multilabel", "size=regression:0.5"),
            {"classification": Classification(), "multilabel": Multilabel(), "regression": Regression()}.get,
        ),
        {"species": CLASSES, "tags": TAGS, "size": SIZES},
        {"species": KINDS, "tags": COLOURS, "size": AXES},
    ),
}


def image_shape(model):
    """Return (H, W, C) of the input that a model's contract declares."""
    found = re.search(r"^input +\(B, (\d+), (\d+), (\d+)\)", contract_path(model).read_text(), re.M)
    return tuple(map(int, found.groups()))


def convolutions(model):
    """Return the number of convolutions of a model: in its contract, layers of images with kernels of four axes.

    Squeeze-and-excitation has such kernels, too, under the names of its convolutions elsewhere, but takes vectors.
    """
    of_images = r"^\S+ +\(B, \d+, \d+, \d+\) .*kernel \(\d+, \d+, \d+, \d+\)"
    return len(re.findall(of_images, contract_path(model).read_text(), re.MULTILINE))


def shapes_of(model, task="classification", optimizer=None, **options):
    """Return a training state and batches of a model as shapes alone; nothing is computed."""
    chosen, targets, names = TASKS[task]
    chosen = chosen.fitted(targets, names)
    shape = image_shape(model)

    def state():
        module = flaxcnn.create(model, classes=chosen.outputs(targets, names))
        constants = {**chosen.constants(targets), "pixel_mean": np.zeros(shape[2], np.float32)}
        constants["pixel_deviation"] = np.ones(shape[2], np.float32)
        made = optimizer or flaxcnn.adam(1e-3)
        return flaxcnn.create_state(module, made, shape, task=chosen, constants=constants, **options)

    def batches():
        order = jnp.arange(EXAMPLES, dtype=jnp.int32)
        images = jnp.zeros((EXAMPLES, *shape), jnp.uint8)
        return ResidentBatches(images, jax.tree.map(jnp.asarray, targets), order, jnp.int32(0), BATCH)

    return jax.eval_shape(state), jax.eval_shape(batches)


def block_for(platforms, state, batches):
    """Return the text of the program of a block of steps, as a run compiles it."""
    steps, finite = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), jnp.bool_)
    lowered = export.export(train_block, platforms=platforms)
    return lowered(state, batches, steps, finite, most_steps=MOST_STEPS).mlir_module()


def evaluation_for(platforms, state, batches):
    """Return the text of the program of an evaluation in several batches."""
    examples = jax.ShapeDtypeStruct((), jnp.int32)
    arguments = (state.model, state.variables, batches.images, batches.targets, examples)
    lowered = export.export(flaxcnn.evaluate, platforms=platforms)
    return lowered(*arguments, task=state.task, batch_size=BATCH + 1).mlir_module()


def custom_calls(text):
    """Return the names of a program's custom calls: of every one, in either way of writing them."""
    names = re.findall(r'custom_call @"?([\w.$]+)"?\(|call_target_name = "([^"]+)"', text)
    assert len(names) == text.count("custom_call"), "a custom call without a name"
    return [short or long for short, long in names]


def require_portable(text):
    unexpected = sorted(set(custom_calls(text)) - set(ALLOWED))
    assert not unexpected, f"calls that another machine may not have: {', '.join(unexpected)}"
    for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv", "flaxcnn_"):
        assert word not in text, word


@pytest.mark.parametrize("model", each())
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_block_of_steps_and_an_evaluation_hold_no_call_that_only_some_machine_has(platform, model):
    state, batches = shapes_of(model)
    count = convolutions(model)
    assert count >= 2
    block, evaluation = (of((platform,), state, batches) for of in (block_for, evaluation_for))
    require_portable(block)
    require_portable(evaluation)
    if platform != "cpu":
        # forward; each kernel's gradient; each input's gradient but for the images', which nothing asks for
        assert block.count("stablehlo.convolution(") == 3 * count - 1
        assert evaluation.count("stablehlo.convolution(") == count


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_nor_do_the_programs_of_a_task(platform, task):
    state, batches = shapes_of("paper_cnn", task)
    require_portable(block_for((platform,), state, batches))
    require_portable(evaluation_for((platform,), state, batches))


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_nor_does_a_block_with_everything_that_a_recipe_can_hold(platform):
    state, batches = shapes_of(
        "wide_resnet10_1",
        optimizer=adamw(1e-3, weight_decay=0.01, clip_norm=1.0),
        augmentations=augmentations_of(EVERYTHING),
        mixup=mixing_of(EVERYTHING),
        hyperparameters=Hyperparameters.of(
            label_smoothing=0.1, dropout=0.2, class_weights=np.ones(3, np.float32), ema_decay=0.99
        ),
        accumulate=2,
    )
    require_portable(block_for((platform,), state, batches))


@pytest.mark.parametrize("model", ["paper_cnn", "wide_resnet10_1"])
def test_nor_does_one_program_for_all_platforms(model):
    state, batches = shapes_of(model)
    require_portable(block_for(PLATFORMS, state, batches))
    require_portable(evaluation_for(PLATFORMS, state, batches))


def probing_call(x):
    return jax.ffi.ffi_call("flaxcnn_probe", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


def probing_python(x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize("hidden", [probing_call, probing_python])
def test_a_call_that_hides_in_a_loop_is_found(hidden):
    looped = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: hidden(x), x))
    text = looped.lower(jnp.ones(3)).as_text()
    assert len(custom_calls(text)) == 1
    with pytest.raises(AssertionError, match="calls that another machine may not have"):
        require_portable(text)


ELSEWHERE = """
import sys
import jax, numpy as np
from jax import export

for folder in sys.argv[1:]:
    with np.load(f"{folder}/given.npz") as arrays:
        given = [arrays[name] for name in sorted(arrays.files)]
    with open(f"{folder}/program", "rb") as file:
        program = export.deserialize(bytearray(file.read()))
    results = jax.tree.leaves(program.call(*given))
    np.savez(f"{folder}/results.npz", **{f"{place:02}": result for place, result in enumerate(results)})
assert "flaxcnn" not in sys.modules
"""


def exported(folder, model):
    """Write an evaluation's program for a CPU and its arguments to a folder; return what it gives in this process."""
    module = flaxcnn.create(model, classes=3)
    state = flaxcnn.create_state(module, flaxcnn.adam(1e-3), image_shape(model), seed=1)
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, *image_shape(model)), np.uint8)
    leaves, structure = jax.tree.flatten(state.variables)

    def evaluation(labels, images, *leaves):  # of arrays alone: no class of this library leaves the process
        variables = jax.tree.unflatten(structure, leaves)
        sums, predictions = flaxcnn.evaluate(module, variables, images, labels, batch_size=BATCH + 1)
        return sums.examples, sums.loss, sums.statistics, predictions

    given = [CLASSES, images, *map(np.asarray, leaves)]
    program = export.export(jax.jit(evaluation), platforms=["cpu"])(*given)
    require_portable(program.mlir_module())
    folder.mkdir()
    (folder / "program").write_bytes(program.serialize())
    np.savez(folder / "given.npz", **{f"{place:04}": array for place, array in enumerate(given)})
    sums, predictions = flaxcnn.evaluate(module, state.variables, images, CLASSES, batch_size=BATCH + 1)
    return jax.tree.leaves((sums.examples, sums.loss, sums.statistics, predictions))


@pytest.mark.slow
def test_an_evaluation_that_leaves_the_process_gives_the_same_numbers_elsewhere(tmp_path, command_environment):
    folders = {model: tmp_path / model for model in ("paper_cnn", "small_cnn", "wide_resnet10_1")}
    expected = {model: exported(folder, model) for model, folder in folders.items()}
    words = [sys.executable, "-c", ELSEWHERE, *map(str, folders.values())]
    done = subprocess.run(words, cwd=tmp_path, env=command_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for model, folder in folders.items():
        with np.load(folder / "results.npz") as results:
            found = [results[name] for name in sorted(results.files)]
        assert int(found[0]) == EXAMPLES
        for one, other in zip(found, expected[model], strict=True):
            np.testing.assert_allclose(one, np.asarray(other), rtol=1e-4, atol=1e-5, err_msg=model)

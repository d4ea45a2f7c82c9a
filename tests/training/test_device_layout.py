"""Many devices compute what one computes: eight virtual ones of a CPU, in a process of their own."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.training.device_layout import DeviceLayout, single_device

pytestmark = pytest.mark.devices

PROGRAM = Path(__file__).with_name("on_eight_devices.py")


@pytest.fixture(scope="module")
def on_eight_devices(command_environment):
    environment = {**command_environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}

    @cache
    def found(task):
        words = [sys.executable, str(PROGRAM), task]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return found


def test_eight_devices_give_the_losses_of_one_over_100_steps(on_eight_devices):
    found = on_eight_devices("paper")
    assert len(found["one"]) == 100
    assert found["one"] == pytest.approx(found["8 × 1"], abs=1e-5)
    assert found["one"] != found["8 × 1"], "the same bits: were there eight devices?"


def test_they_tell_each_other_the_sums_of_a_step_at_once_and_nothing_else(on_eight_devices):
    assert on_eight_devices("paper")["collectives"] == {"all-reduce": 1}


def test_wide_layers_divided_among_four_devices_give_the_same_losses(on_eight_devices):
    found = on_eight_devices("wide")
    assert found["divided"] == 3 * 3  # three kernels, each with Adam's two moments
    assert found["one"] == pytest.approx(found["2 × 4"], abs=1e-5)


def test_batch_statistics_are_those_of_the_global_batch(on_eight_devices):
    found = on_eight_devices("statistics")
    assert found["8 × 1"] == pytest.approx(found["by hand"], abs=1e-6)
    assert found["of a part"] != pytest.approx(found["by hand"], abs=1e-3)


def test_parts_of_a_batch_augmentation_and_dropout_do_not_depend_on_the_devices(on_eight_devices):
    found = on_eight_devices("random")
    assert found["one"] == pytest.approx(found["8 × 1"], abs=1e-5)


def test_a_detector_finds_the_same_objects_in_mosaics_of_what_other_devices_have(on_eight_devices):
    found = on_eight_devices("boxes")
    # Rounding says to whom a place belongs that is as far from two objects' middles as a place may be.
    assert found["one"] == pytest.approx(found["8 × 1"], rel=1e-3)
    assert found["one"][-1] < found["one"][0]


def test_images_that_are_streamed_give_the_bits_of_those_on_the_devices(on_eight_devices):
    found = on_eight_devices("streamed")
    assert found["resident"] == found["streamed"]
    assert len(found["resident"]) == 30


def test_a_mesh_that_does_not_fit_is_refused(on_eight_devices):
    assert on_eight_devices("refused") == [
        "mesh.data: not a number of devices; expected at most 8: JAX sees 8, mesh.model is 1, found 9",
        "mesh.model: too many devices; expected at most 8, the devices that JAX sees, found 16",
        "training.batch_size: a batch that the devices cannot divide; expected a multiple of mesh.data, 8, found 50",
    ]


def test_of_more_devices_than_divide_a_batch_as_many_as_can_are_taken(on_eight_devices):
    assert on_eight_devices("default") == {"50": 5, "64": 8, "7": 7, "11": 1}


def test_evaluation_on_eight_devices_counts_every_example_once(on_eight_devices):
    found = on_eight_devices("evaluation")
    assert found["examples"] == [997, 997]
    assert found["correct"][0] == found["correct"][1]
    assert found["loss"][0] == pytest.approx(found["loss"][1], rel=1e-5)
    assert found["largest difference of a logit"] < 1e-4


def test_one_device_is_a_mesh_of_one():
    layout = single_device()
    assert (layout.data, layout.model, layout.processes) == (1, 1, 1)
    assert layout.part(50) == (0, 50)
    assert DeviceLayout.of(50, 1).mesh.devices.tolist() == [[jax.devices()[0]]]
    with pytest.raises(ConfigError, match=r"mesh\.data"):
        DeviceLayout.of(50, jax.device_count() + 1)

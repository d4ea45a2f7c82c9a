"""The programs of a sweep: which trials share one, how many there are, and which way of running trials is chosen."""

import dataclasses
import json

import pytest

from flaxcnn.config import Data, Experiment, Logging, Mesh, Optimizer, Training
from flaxcnn.runs.folder.environment import device_line
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.given import load
from flaxcnn.runs.setup import set_up
from flaxcnn.sweeps.execution.cohorts import Cohorts, bucket_of

pytestmark = pytest.mark.sweeps


@pytest.fixture(scope="module")
def base(small_mnist):
    return Experiment(
        data=Data(f"idx:{small_mnist}", validation=0.1),
        optimizer=Optimizer("sgd"),
        training=Training(steps=10),
        logging=Logging(test_examples=0),
        mesh=Mesh(data=1),
    )


@pytest.fixture(scope="module")
def loaded(base):
    return load(base)


@pytest.fixture(scope="module")
def setup(base, loaded):
    """Make the setup of the base with some fields changed: `setup(training={"batch_size": 10})`."""

    def setup(**sections):
        changed = {name: dataclasses.replace(getattr(base, name), **fields) for name, fields in sections.items()}
        return set_up(dataclasses.replace(base, **changed), loaded)

    return setup


@pytest.fixture
def cohorts(tmp_path):
    """Make what makes programs, in the test's folder: `cohorts("map", 2)`."""
    return lambda how, most: Cohorts(RunFolder(tmp_path), how, most)


# --- which trials share a program


# Each field has a value that is one of the state's.
VALUES = {
    "optimizer": {"clip_norm": 1.0},
    "augmentation": {"shift": 1.0},
    "model": {"dropout": 0.1},
    "training": {"ema_decay": 0.9},
}


def changed(setup, changes):
    return bucket_of(setup(**{name: {**VALUES.get(name, {}), **changes.get(name, {})} for name in VALUES | changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"learning_rate": 0.5, "momentum": 0.1, "weight_decay": 0.01, "clip_norm": 2.0}},
        {"training": {"seed": 5, "label_smoothing": 0.2, "ema_decay": 0.5}},
        {"augmentation": {"shift": 3.0}, "model": {"dropout": 0.7}},
        {"training": {"steps": 5}},  # it ends sooner, that is all
        {"logging": {"every": 3}},
    ],
)
def test_trials_that_differ_in_values_share_a_bucket(setup, changes):
    ours, base = changed(setup, changes), changed(setup, {})
    assert ours == base
    assert hash(ours) == hash(base)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"batch_size": 25}},
        {"training": {"accumulate": 2}},
        {"training": {"ema_decay": None}},
        {"model": {"dropout": None}},
        {"model": {"name": "small_cnn"}},
        {"model": {"dtype": "bfloat16"}},
        {"model": {"normalization": "dataset"}},
        {"optimizer": {"name": "adam"}},
        {"optimizer": {"nesterov": True}},
        {"optimizer": {"clip_norm": None}},
        {"augmentation": {"shift": 0.0}},
        {"augmentation": {"cutout": 4}},
        {"schedule": {"name": "cosine"}},
    ],
)
def test_trials_whose_programs_differ_have_buckets_of_their_own(setup, changes):
    assert changed(setup, changes) != changed(setup, {})


# --- how many programs there are


def test_one_program_serves_all_values_and_another_batch_size_has_its_own(setup, cohorts):
    made = cohorts("map", 2)
    first = made.program(setup(), 1)
    assert first.trials.count == 2  # one after the other, a slot that has nothing to do costs no time
    assert made.program(setup(optimizer={"learning_rate": 0.3}), 2) is first
    assert (made.buckets, made.compilations) == (1, 1)
    other = made.program(setup(training={"batch_size": 25}), 2)
    assert other is not first
    assert (made.buckets, made.compilations) == (2, 2)
    assert made.program(setup(), 2) is first
    assert (made.buckets, made.compilations) == (2, 2)


def test_the_four_programs_that_were_used_last_are_kept(setup, cohorts):
    made, base = cohorts("vmap", 6), setup()
    programs = {wanted: made.program(base, wanted) for wanted in (1, 2, 4, 6)}
    assert made.program(base, 1) is programs[1]  # used again: now that of two slots is the one used longest ago
    made.program(setup(training={"batch_size": 25}), 1)
    assert (made.buckets, made.compilations) == (2, 5)
    assert all(made.program(base, wanted) is programs[wanted] for wanted in (1, 4, 6))
    assert made.compilations == 5
    assert made.program(base, 2) is not programs[2]
    assert (made.buckets, made.compilations) == (2, 6)


def test_where_memory_does_not_hold_several_slots_there_is_one_from_then_on(setup, cohorts):
    made = cohorts("map", 2)
    first = made.program(setup(), 1)
    assert first.trials.count == 2
    made.run_alone(setup())
    assert made.most_parallel(setup(optimizer={"learning_rate": 0.3})) == 1
    assert made.program(setup(), 1).trials.count == 1
    assert (made.buckets, made.compilations) == (1, 2)
    assert made.most_parallel(setup(training={"batch_size": 25})) == 2  # which was not too large


def test_all_at_once_the_slots_are_rounded_up_to_a_power_of_two_up_to_the_most(setup, cohorts):
    made = cohorts("vmap", 6)
    counts = {wanted: made.program(setup(), wanted).trials.count for wanted in (1, 2, 3, 4, 5, 6)}
    assert counts == {1: 1, 2: 2, 3: 4, 4: 4, 5: 6, 6: 6}
    assert (made.buckets, made.compilations) == (1, 4)


def test_images_that_do_not_fit_the_device_have_a_slot_of_their_own(setup, cohorts):
    made = cohorts("map", 4)
    program = made.program(setup(data={"device_memory": 0, "workers": 0}), 3)
    assert program.trials.count == 1


# --- which way of running trials is chosen


def test_the_faster_way_is_found_once_written_down_and_used_again(setup, cohorts, tmp_path):
    made = cohorts("auto", 2)
    program = made.program(setup(), 2)
    assert made.compilations == 2  # both ways, and the faster one is kept
    found = json.loads((tmp_path / "executor.json").read_text())
    assert (found["device"], found["lanes"]) == (device_line(devices=1), 2)
    times = found["milliseconds_a_lane_and_step"]
    assert sorted(times) == ["map", "vmap"]
    assert found["executor"] == min(times, key=times.get)
    assert program.trials.how == found["executor"]
    assert made.program(setup(training={"batch_size": 25}), 2).trials.how == found["executor"]
    assert made.compilations == 3
    again = cohorts("auto", 2)
    assert again.program(setup(), 2).trials.how == found["executor"]
    assert again.compilations == 1


@pytest.mark.parametrize(
    ("recorded", "tried"),
    [({}, False), ({"lanes": 3}, True), ({"device": "gpu (another)"}, True)],
)
def test_a_choice_holds_for_its_device_and_its_number_of_slots(setup, cohorts, tmp_path, recorded, tried):
    other = "vmap"  # whatever is the faster one here: what stands in the file is believed
    choice = {"executor": other, "device": device_line(devices=1), "lanes": 2, **recorded}
    (tmp_path / "executor.json").write_text(json.dumps(choice))
    made = cohorts("auto", 2)
    program = made.program(setup(), 2)
    assert made.compilations == (2 if tried else 1)
    if not tried:
        assert program.trials.how == other


def test_a_single_slot_has_nothing_to_choose(setup, cohorts, tmp_path):
    made = cohorts("auto", 1)
    assert made.program(setup(), 1).trials.count == 1
    assert made.compilations == 1
    assert not (tmp_path / "executor.json").exists()

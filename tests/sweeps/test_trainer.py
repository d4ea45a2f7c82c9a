"""Trials trained in company, paused, copied and taken over: with the bits of one that was trained straight."""

import dataclasses
import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.config import Augmentation, Data, Experiment, Logging, Mesh, Model, Optimizer, Training, to_json
from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.states import TrialStates
from flaxcnn.sweeps.execution.trainer import Assignment, Trainer, Watch, inherit
from flaxcnn.training.checkpoints import CheckpointStore, Metadata

pytestmark = pytest.mark.sweeps

STEPS = 12
PATIENCE = 600  # seconds; no test takes as long: what is stuck is stopped then


class Company:
    """A trainer in a folder, and what it told.

    Attributes:
        reports: of each trial, by steps done.
        progress: the steps done at the end of each block, by trial.
    """

    def __init__(self, folder, cohorts, *, stops=lambda company: False, lost=lambda number: False):
        self.reports, self.progress, self.folder = {}, {}, folder
        deadline = time.monotonic() + PATIENCE
        watch = Watch(
            lambda number, step, value: self.reports.setdefault(number, {}).update({step: value}),
            lambda number, step, total: self.progress.setdefault(number, []).append(step),
            lost,
            lambda: stops(self) or time.monotonic() > deadline,
        )
        self.trainer = Trainer(TrialStates(folder, keep_rungs=True), "validation_accuracy", cohorts, watch)

    def train(self, *assignments):
        """The outcomes, by number."""
        outcomes = list(self.trainer.train(assignments))
        found = {outcome.number: outcome for outcome in outcomes}
        assert len(found) == len(outcomes)
        return found


def steps_of(folder, number):
    return store(folder, number).steps()


def store(folder, number):
    return CheckpointStore(folder / "trials" / f"{number:05d}" / "checkpoints")


def same_bits(first, second):
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.fixture(scope="module")
def base(small_mnist):
    """With every kind of value in the state: of optimizer, loss, augmentation and average."""
    return Experiment(
        data=Data(f"idx:{small_mnist}", validation=0.1),
        model=Model("small_cnn", dropout=0.1),
        optimizer=Optimizer("sgd", learning_rate=0.01, weight_decay=1e-4),
        augmentation=Augmentation(shift=1.0),
        training=Training(steps=STEPS, seed=3, label_smoothing=0.1, ema_decay=0.5),
        logging=Logging(every=5, test_examples=0),
        mesh=Mesh(data=1),
    )


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Programs of up to four slots, one after the other; compiled once for all of these tests."""
    return Cohorts(RunFolder(tmp_path_factory.mktemp("programs")), "map", 4)


@pytest.fixture
def company(tmp_path, cohorts):
    """A trainer of its own in the test's folder: `company(...)`, with options of `Company`."""

    def company(name="sweep", **options):
        return Company(tmp_path / name, cohorts, **options)

    return company


def with_rate(base, rate, **training):
    return dataclasses.replace(
        base,
        optimizer=dataclasses.replace(base.optimizer, learning_rate=rate),
        training=dataclasses.replace(base.training, **training),
    )


def state_of(company, experiment, number, step):
    """The state that a trial's checkpoint of a step holds."""
    target = company.trainer.set_up(experiment).state_target()
    return store(company.folder, number).restore(step, target).state


@pytest.fixture(scope="module")
def straight(base, cohorts, tmp_path_factory):
    """A trial that was trained to its end alone: its experiment, its outcome, its reports and its state."""
    company = Company(tmp_path_factory.mktemp("straight"), cohorts)
    experiment = with_rate(base, 0.03)
    outcome = company.train(Assignment(0, experiment, 1.0))[0]
    return experiment, outcome.value, company.reports[0], state_of(company, experiment, 0, STEPS)


def test_trials_of_two_buckets_end_with_what_their_states_are_worth(company, base):
    settings = {0: with_rate(base, 0.01), 1: with_rate(base, 0.03), 2: with_rate(base, 0.01, batch_size=25)}
    ours = company()
    outcomes = ours.train(*(Assignment(number, experiment, 1.0) for number, experiment in settings.items()))
    assert sorted(outcomes) == [0, 1, 2]
    for number, experiment in settings.items():
        setup = ours.trainer.set_up(experiment)
        state = state_of(ours, experiment, number, STEPS)
        logits, _ = jax.jit(setup.model.apply)(state.variables, np.asarray(setup.validation.images, np.float32) / 255)
        right = int(np.sum(np.argmax(logits, -1) == setup.validation.targets))
        assert outcomes[number].value == right / len(setup.validation)
        assert outcomes[number].reason == ""
        assert outcomes[number].seconds > 0
        assert sorted(ours.reports[number]) == [5, 10, 12]  # every five steps, and at the end
        assert ours.reports[number][12] == outcomes[number].value
        assert ours.progress[number][-1] == STEPS
        assert sorted(ours.progress[number]) == ours.progress[number]
    assert len({outcome.value for outcome in outcomes.values()}) > 1


def test_a_trial_promoted_by_other_processes_has_the_bits_of_one_trained_straight(company, straight):
    """Rungs of 4, 8 and 12 steps, each by a trainer of its own, in other company and in another slot."""
    experiment, value, reports, state = straight
    other = dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, seed=7))
    seen = {}
    for end, companions in ((1 / 3, ()), (2 / 3, (1,)), (1.0, (2, 3))):
        ours = company()
        assignments = [*(Assignment(number, other, 1.0) for number in companions), Assignment(0, experiment, end)]
        outcome = ours.train(*assignments)[0]
        assert steps_of(ours.folder, 0) == [round(end * STEPS)]
        seen[round(end * STEPS)] = sorted(ours.reports[0])
        for step in set(reports) & set(ours.reports[0]):
            assert ours.reports[0][step] == reports[step]
    assert seen == {4: [4], 8: [4, 5, 8], 12: [4, 5, 8, 10, 12]}  # what was told before is told again
    assert outcome.value == value
    same_bits(state_of(ours, experiment, 0, STEPS), state)


def test_a_trial_whose_process_was_killed_before_it_told_is_measured_again_and_not_trained(company, straight):
    experiment, value, reports, _ = straight
    first = company()
    first.train(Assignment(0, experiment, 1.0))
    again = company()
    assert again.train(Assignment(0, experiment, 1.0))[0].value == value
    assert again.progress == {}
    assert again.reports == {0: reports}


def test_on_request_the_states_of_all_slots_are_saved_and_go_on_elsewhere(company, base, straight):
    experiment, value, _, state = straight
    stopped = company(stops=lambda company: len(company.progress) == 3)
    assignments = [Assignment(number, experiment, 1.0) for number in range(3)]
    assert stopped.train(*assignments) == {}
    for number in range(3):
        assert steps_of(stopped.folder, number) == [stopped.progress[number][-1]]
        assert stopped.progress[number][-1] < STEPS
    resumed = company()
    outcomes = resumed.train(*assignments)
    assert [outcomes[number].value for number in range(3)] == [value] * 3
    for number in range(3):
        assert resumed.progress[number][0] > stopped.progress[number][-1]
        same_bits(state_of(resumed, experiment, number, STEPS), state)


def test_stopped_before_it_began_nothing_is_trained(company, base):
    ours = company(stops=lambda company: True)
    assert ours.train(Assignment(0, base, 1.0)) == {}
    assert ours.progress == {}


def test_a_trial_that_another_process_took_over_is_dropped_and_the_others_go_on(company, straight):
    experiment, value, *_ = straight
    ours = company(lost=lambda number: number == 1)
    outcomes = ours.train(*(Assignment(number, experiment, 1.0) for number in range(3)))
    assert {number: outcome.value for number, outcome in outcomes.items()} == {0: value, 2: value}
    assert 1 not in ours.reports
    assert steps_of(ours.folder, 1) == []  # its folder is the other one's to write to


def test_a_trial_that_is_not_finite_fails_and_its_neighbours_are_undisturbed(company, straight, base):
    experiment, value, reports, state = straight
    ours = company()
    outcomes = ours.train(
        Assignment(0, experiment, 1.0), Assignment(1, with_rate(base, 3e38), 1.0), Assignment(2, experiment, 1.0)
    )
    assert outcomes[1].value is None
    assert outcomes[1].reason.startswith("step ")
    assert "not finite" in outcomes[1].reason
    assert "\n" not in outcomes[1].reason
    for number in (0, 2):
        assert outcomes[number].value == value
        assert ours.reports[number] == reports
        same_bits(state_of(ours, experiment, number, STEPS), state)


def test_settings_that_the_data_cannot_take_fail_and_the_others_are_trained(company, straight, base):
    experiment, value, *_ = straight
    ours = company()
    outcomes = ours.train(Assignment(0, with_rate(base, 1e-3, batch_size=2000), 1.0), Assignment(1, experiment, 1.0))
    assert outcomes[0].value is None
    assert outcomes[0].reason.startswith("training.batch_size: batch larger than the data")
    assert outcomes[1].value == value


def test_images_that_do_not_fit_the_device_are_trained_on_with_the_same_bits(company, straight):
    experiment, value, reports, state = straight
    streamed = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, device_memory=0, workers=0))
    ours = company()
    assert ours.train(Assignment(0, streamed, 1.0))[0].value == value
    assert ours.reports[0] == reports
    same_bits(state_of(ours, streamed, 0, STEPS), state)


def test_several_trials_on_images_that_do_not_fit_the_device_are_all_trained(company, straight):
    experiment, value, _, state = straight
    streamed = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, device_memory=0, workers=0))
    ours = company()
    outcomes = ours.train(*(Assignment(number, streamed, 1.0) for number in range(2)))
    assert {number: outcome.value for number, outcome in outcomes.items()} == {0: value, 1: value}
    for number in range(2):
        same_bits(state_of(ours, streamed, number, STEPS), state)


# --- copies


@pytest.fixture(scope="module")
def other(base):
    """What a copy may be given in the place of its parent's values."""
    return dataclasses.replace(
        base,
        model=Model("small_cnn", dropout=0.3),
        optimizer=Optimizer("sgd", learning_rate=0.02, momentum=0.5, weight_decay=2e-4),
        augmentation=Augmentation(shift=2.0),
        training=dataclasses.replace(base.training, label_smoothing=0.2, ema_decay=0.75),
    )


def test_a_copy_begins_with_its_parents_state_and_its_own_hyperparameters(company, base, other):
    company().train(Assignment(0, base, 0.5))
    ours = company(stops=lambda company: True)  # once it is prepared
    assert ours.train(Assignment(1, other, 1.0, parent=0, parent_fraction=0.5)) == {}
    parent, child = state_of(ours, base, 0, 6), state_of(ours, other, 1, 6)
    for name in ("step", "seed", "params", "batch_stats", "average"):
        same_bits(getattr(child, name), getattr(parent, name))
    assert (int(child.step), int(child.seed)) == (6, 3)
    same_bits(child.opt_state.inner_state, parent.opt_state.inner_state)
    assert any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(child.opt_state.inner_state))  # its momentum
    assert int(child.opt_state.count) == 6
    own = {"learning_rate": 0.02, "momentum": 0.5, "weight_decay": 2e-4}
    assert {name: child.opt_state.hyperparams[name] for name in own} == {
        name: np.float32(value) for name, value in own.items()
    }
    assert child.hyperparameters.label_smoothing == np.float32(0.2)
    assert child.hyperparameters.dropout == np.float32(0.3)
    assert child.hyperparameters.ema_decay == np.float32(0.75)
    assert jax.tree.leaves(child.augmentations) == [np.float32(2.0)]


def test_a_copy_mixes_as_it_was_told_itself(company, base):
    def state(alpha):
        augmentation = dataclasses.replace(base.augmentation, mixup=alpha)
        return company().trainer.set_up(dataclasses.replace(base, augmentation=augmentation)).first_state()

    parent, child = state(0.2), state(0.4)
    assert jax.tree.leaves(inherit(parent, child).mixup) == [np.float32(0.4)]
    assert jax.tree.structure(inherit(parent, child)) == jax.tree.structure(parent)


def test_a_copy_with_its_parents_own_settings_is_its_parent_though_that_one_trains_on(company, base):
    company().train(Assignment(0, base, 0.5))
    ours = company()
    copy = Assignment(1, base, 1.0, parent=0, parent_fraction=0.5)
    outcomes = ours.train(Assignment(0, base, 1.0), copy)
    assert outcomes[0].value == outcomes[1].value
    assert min(ours.progress[1]) > 6
    same_bits(state_of(ours, base, 0, STEPS), state_of(ours, base, 1, STEPS))


def test_a_copy_that_goes_on_keeps_its_own_state(company, base, other):
    """Its parent's is read once, even where the parent's is gone."""
    company().train(Assignment(0, base, 0.5))
    copy = Assignment(1, other, 0.75, parent=0, parent_fraction=0.5)
    company().train(copy)
    company().train(Assignment(0, base, 1.0))
    ours = company()
    assert ours.train(copy._replace(fraction=1.0))[1].value is not None
    assert min(ours.progress[1]) > 9
    whole = company("whole")
    whole.train(Assignment(0, base, 0.5))
    whole.train(copy._replace(fraction=1.0))
    same_bits(state_of(ours, other, 1, STEPS), state_of(whole, other, 1, STEPS))


# --- memory


def test_trials_that_are_a_link_are_refused_since_their_states_are_another_sweeps(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "trials").symlink_to(tmp_path / "theirs")
    with pytest.raises(RunFolderError, match="mine/trials: a link to elsewhere"):
        TrialStates(tmp_path / "mine", keep_rungs=False).steps(0)


@pytest.mark.parametrize("reports", [None, [], {"x": 1.0}, {"1": "0.5"}, {"9" * 30: 0.5}])
def test_a_state_with_damaged_reports_is_not_gone_on_from(tmp_path, base, reports):
    state = {"step": jnp.int32(1)}
    config = json.loads(json.dumps(to_json(base)))
    metadata = Metadata(1, 0, config, "", {}, {}, 0, 0.0, 0.0, extra={"reports": {"1": 0.5}})
    store(tmp_path, 0).save(state, metadata)
    states = TrialStates(tmp_path, keep_rungs=False)
    assert states.newest(0, base, STEPS, state).reports == {1: 0.5}
    store(tmp_path, 1).save(state, dataclasses.replace(metadata, extra={"reports": reports}))
    assert states.newest(1, base, STEPS, state) is None


OUT_OF_MEMORY = """
import dataclasses, json, resource, sys
from pathlib import Path
from flaxcnn.config import Data, Experiment, Logging, Mesh, Model, Optimizer, Training
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.sweeps.execution.cohorts import Cohorts
from flaxcnn.sweeps.execution.states import TrialStates
from flaxcnn.sweeps.execution.trainer import Assignment, Trainer, Watch, inherit

data, folder, how, mebibytes = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
base = Experiment(
    data=Data("idx:" + data, validation=0.1), training=Training(steps=2, batch_size=800),
    logging=Logging(every=9, test_examples=0), mesh=Mesh(data=1),
)
cohorts = Cohorts(RunFolder(folder), how, 8)
watch = Watch(lambda *told: None, lambda *told: None, lambda number: False, lambda: False)
trainer = Trainer(TrialStates(folder, keep_rungs=False), "validation_accuracy", cohorts, watch)
assignments = [
    Assignment(n, dataclasses.replace(base, optimizer=Optimizer(learning_rate=1e-4 * (n + 1))), 1.0) for n in range(8)
]
list(trainer.train([assignments[0]._replace(number=99)]))  # all that one of them needs besides its slots
used = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + (mebibytes << 20),) * 2)
outcomes = sorted(trainer.train(assignments))
print(json.dumps({"outcomes": [each[:3] for each in outcomes], "compilations": cohorts.compilations}))
"""


@pytest.mark.sweeps
def test_where_memory_does_not_suffice_for_all_at_once_they_are_trained_one_by_one(
    command_environment, small_mnist, tmp_path
):
    words = [sys.executable, "-c", OUT_OF_MEMORY, str(small_mnist), str(tmp_path), "vmap", "500"]
    done = subprocess.run(words, env=command_environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [number for number, *_ in found["outcomes"]] == list(range(8))
    assert [reason for *_, reason in found["outcomes"]] == [""] * 8
    assert found["compilations"] == 3  # one slot, eight, and one again

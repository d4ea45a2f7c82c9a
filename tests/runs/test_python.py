"""Training from Python: the bits of the command, hooks, threads, and a run that answers for itself."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import flax.linen as nn
import jax
import numpy as np
import pytest

import flaxcnn
from flaxcnn import config
from flaxcnn.errors import ConfigError, ContractError, DataError
from flaxcnn.tasks import Classification
from tests.conftest import CHECKOUT

DIGESTS = ("weights_sha256", "state_sha256", "metrics_sha256")


@pytest.fixture(scope="module")
def experiment(small_mnist):
    return config.Experiment(
        data=config.Data(source=f"idx:{small_mnist}", validation=0.2),
        training=config.Training(steps=12),
        logging=config.Logging(every=5, test_examples=20),
    )


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def run(experiment, told, tmp_path_factory):
    hooks = [flaxcnn.Hook(4, lambda moment: told.append((moment.step, int(moment.state.step), dict(moment.metrics))))]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = flaxcnn.train(experiment, out=tmp_path_factory.mktemp("python") / "run", hooks=hooks, quiet=True)
    assert {number: signal.getsignal(number) for number in before} == before
    return made


@pytest.fixture(scope="module")
def by_command(small_mnist, commands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    options = ("--data.source", f"idx:{small_mnist}", "--data.validation", 0.2, "--training.steps", 12)
    done = commands.run(
        ["train", *options, "--logging.every", 5, "--logging.test_examples", 20, "--out", "run"], folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "run" / "summary.json").read_text())


def digests(summary):
    return {name: summary[name] for name in DIGESTS}


@pytest.mark.slow
def test_it_has_the_bits_of_the_command_whatever_its_hooks(run, by_command):
    assert run.complete
    assert digests(run.summary) == digests(by_command)


def test_in_another_thread_it_has_the_same_bits(run, experiment, tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(flaxcnn.train(experiment, out=tmp_path / "run", quiet=True)))
    thread.start()
    thread.join()
    assert digests(made[0].summary) == digests(run.summary)


def test_a_hook_is_called_every_so_many_steps_with_the_state_and_the_metrics(run, told):
    assert [step for step, _, _ in told] == [4, 8, 12]
    assert [of_state for _, of_state, _ in told] == [4, 8, 12]
    assert all({"loss", "accuracy", "learning_rate"} <= set(metrics) for _, _, metrics in told)


def test_a_hook_that_sees_a_logged_row_is_told_what_was_measured(experiment, tmp_path):
    told = []
    flaxcnn.train(
        experiment,
        out=tmp_path / "run",
        quiet=True,
        hooks=[flaxcnn.Hook(11, lambda moment: told.append(moment.metrics))],
    )
    (metrics,) = told
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[2])  # of the step 10, the eleventh
    assert metrics["validation_accuracy"] == row["validation_accuracy"]


def test_a_hook_of_no_steps_is_refused_before_anything_is_written(experiment, tmp_path):
    with pytest.raises(ConfigError) as refused:
        flaxcnn.train(experiment, out=tmp_path / "run", hooks=[flaxcnn.Hook(0, print)])
    assert refused.value.where == "hooks[0]"
    assert not (tmp_path / "run").exists()


def test_its_metrics_are_the_columns_of_the_log(run):
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(run.metrics["step"], [0, 5, 10])
    np.testing.assert_array_equal(run.metrics["validation_loss"], [row["validation_loss"] for row in rows])


def test_its_predictions_are_those_that_it_saved(run, small_mnist):
    images = flaxcnn.data.load(f"idx:{small_mnist}").test.images
    with np.load(run.folder / "predictions.npz") as saved:
        np.testing.assert_allclose(run.predict(images)["logits"], saved["logits"], rtol=1e-5, atol=1e-5)


def test_it_evaluates_itself_and_other_data(run, small_mnist):
    found = run.evaluate()
    assert found["accuracy"][0] == run.summary["test_accuracy"]
    low, high = found["accuracy"][1]
    assert low <= found["accuracy"][0] <= high
    dataset = flaxcnn.data.load(f"idx:{small_mnist}")
    few = flaxcnn.Split(dataset.test.images[:7], dataset.test.targets[:7])
    other = dataclasses.replace(dataset, test=few)
    correct = run.predict(few.images)["logits"].argmax(1) == few.targets
    assert run.evaluate(other)["accuracy"][0] == pytest.approx(correct.mean())


def test_images_of_another_size_are_refused(run):
    with pytest.raises(DataError) as refused:
        run.predict(np.zeros((2, 14, 14, 1), np.uint8))
    assert (refused.value.where, refused.value.expected) == ("images", "uint8 (N, 28, 28, 1)")


def test_a_complete_run_is_returned_as_it_is(run, experiment):
    before = (run.folder / "summary.json").stat().st_mtime_ns
    again = flaxcnn.train(experiment, out=run.folder, quiet=True)
    assert again.summary == run.summary
    assert (run.folder / "summary.json").stat().st_mtime_ns == before


def test_settings_of_jax_are_given_back(experiment, run, tmp_path):
    jax.config.update("jax_enable_x64", True)
    try:
        made = flaxcnn.train(experiment, out=tmp_path / "run", quiet=True)
        assert jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", False)
    assert digests(made.summary) == digests(run.summary)


class Tiny(nn.Module):
    """A model that takes no `train` and returns logits alone."""

    classes: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.classes)(images.reshape(len(images), -1))


@pytest.mark.slow
def test_a_model_and_a_task_in_memory_start_from_given_weights(experiment, tmp_path):
    model = flaxcnn.adapt(Tiny, classes=10)
    variables = model.init(jax.random.key(7), np.zeros((1, 28, 28, 1), np.float32))
    told = []
    run = flaxcnn.train(
        dataclasses.replace(experiment, optimizer=config.Optimizer(learning_rate=1e-30)),
        model=Tiny,
        task=Classification(),
        variables=variables,
        out=tmp_path / "run",
        quiet=True,
        hooks=[flaxcnn.Hook(1, lambda moment: told.append(jax.device_get(moment.state.params)))],
    )
    np.testing.assert_array_equal(told[0]["Dense_0"]["kernel"], variables["params"]["Dense_0"]["kernel"])
    recorded = json.loads((run.folder / "config.json").read_text())
    assert recorded["model"]["name"] == "given:Tiny"
    assert recorded["task"]["name"] == "given:classification"


def test_weights_of_another_model_are_refused(experiment, tmp_path):
    model = flaxcnn.adapt(Tiny, classes=9)
    variables = model.init(jax.random.key(7), np.zeros((1, 28, 28, 1), np.float32))
    with pytest.raises(ContractError) as refused:
        flaxcnn.train(experiment, model=Tiny, variables=variables, out=tmp_path / "run", quiet=True)
    assert refused.value.where == "params/Dense_0/bias"
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_command_goes_on_with_what_was_given_in_memory(experiment, commands, tmp_path):
    flaxcnn.train(experiment, model=Tiny, out=tmp_path / "run", quiet=True)
    for command in ("resume", "evaluate"):
        done = commands.run([command, "run"], tmp_path)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "given in memory" in line
        assert "flaxcnn.train(" in line


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["classes", "several"])
def test_a_random_access_source_and_a_given_model_go_on_to_the_same_bits_after_a_kill(kind, tmp_path):
    script = CHECKOUT / "tests" / "outside" / "python_run.py"

    def ran(out, stop_after=0):
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "FLAXCNN_STOP_AFTER": str(stop_after)}
        words = [sys.executable, script, tmp_path / out, kind]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)

    whole = ran("whole")
    assert whole.returncode == 0, whole.stderr
    for stop_after in (13, 27):
        assert ran("killed", stop_after).returncode == -signal.SIGKILL
    last = ran("killed")
    assert last.returncode == 0, last.stderr
    assert "resumes after step 25" in last.stdout
    of_whole, of_killed = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "killed"))
    assert digests(of_killed) == digests(of_whole)

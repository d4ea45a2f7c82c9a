"""A run on several devices: eight virtual ones of a CPU, seen by the real command."""

import json

import pytest

pytestmark = pytest.mark.devices

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


@pytest.fixture
def train(flaxcnn, small_mnist):
    def run(*words, **options):
        data = ("--data.source", f"idx:{small_mnist}", "--logging.every", "5", "--training.batch_size", "40")
        return flaxcnn("train", *data, *words, **options)

    return run


def losses(folder):
    return [json.loads(line)["train_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_all_devices_train_together_and_one_goes_on_alone(train, flaxcnn, tmp_path):
    done = train("--training.steps", "12", "--out", "run", env=EIGHT)
    assert done.returncode == 0, done.stderr
    assert "mesh    8 devices: batches in 8, wide layers in 1 parts" in done.stdout
    assert train("--training.steps", "25", "--out", "alone").returncode == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone")[:3], abs=1e-4)
    on = train("--training.steps", "25", "--out", "run")
    assert on.returncode == 0, on.stderr
    assert "trained with mesh 8 × 1 devices, and continues with 1 × 1 devices: results may differ" in on.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), abs=1e-3)
    assert flaxcnn("evaluate", "run").returncode == 0


def test_wide_layers_are_divided_saved_whole_and_evaluated_anywhere(train, flaxcnn, tmp_path):
    model = ("--model.name", "small_cnn", "--training.steps", "6")
    done = train(*model, "--mesh.data", "2", "--mesh.model", "4", "--out", "run", env=EIGHT)
    assert done.returncode == 0, done.stderr
    assert "8 devices: batches in 2, wide layers in 4 parts" in done.stdout
    assert train(*model, "--out", "alone").returncode == 0
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), abs=1e-3)
    found = flaxcnn("evaluate", "run")
    numbers = {line.split()[0]: line.split()[1] for line in found.stdout.splitlines() if line and "(" in line}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert float(numbers["test_accuracy"]) == pytest.approx(summary["test_accuracy"], abs=0.01)
    assert numbers["weights_sha256"] == summary["weights_sha256"]
    resumed = flaxcnn("resume", "run", "--mesh.data", "1", "--mesh.model", "1")
    assert resumed.returncode == 0, resumed.stderr
    assert "is complete" in resumed.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mesh.data", "9"), "mesh.data: not a number of devices; expected at most 8"),
        (("--mesh.data", "3"), "training.batch_size: a batch that the devices cannot divide"),
        (("--mesh.model", "2"), "mesh.model: no layer wide enough to divide"),
        (("--mesh.model", "0"), "mesh.model: out of range; expected at least 1, found 0"),
    ],
)
def test_a_mesh_that_cannot_be_is_one_line_and_leaves_nothing(train, tmp_path, words, told):
    done = train(*words, "--out", "run", env=EIGHT)
    assert done.returncode == 2
    assert done.stderr.startswith(f"flaxcnn: {told}")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()

"""A real MLflow server on this machine has what a run has, by MLflow's own client.

FLAXCNN_MLFLOW_PYTHON names a Python that has mlflow (`make test-mlflow` makes one); without it, the test is skipped.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.runs.test_mlflow import rows_of

PYTHON = os.environ.get("FLAXCNN_MLFLOW_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="FLAXCNN_MLFLOW_PYTHON names no Python that has mlflow")
READ = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = [
    {
        "name": run.info.run_name, "status": run.info.status, "params": run.data.params, "tags": run.data.tags,
        "history": {
            key: [[each.step, each.value] for each in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        },
    }
    for run in client.search_runs([experiment.experiment_id])
]
print(json.dumps(runs))
"""

KILLED = """
import os, signal, sys, time
from flaxcnn.__main__ import main
from flaxcnn.runs.folder.run_folder import RunFolder
append_row = RunFolder.append_row

def append(self, name, row):
    append_row(self, name, row)
    if row["step"] == 16:
        time.sleep(4)  # the rows before are on the server then, of which those from step 10 on are in no checkpoint
        os.kill(os.getpid(), signal.SIGKILL)

RunFolder.append_row = append
sys.argv[0] = "flaxcnn"
sys.exit(main())
"""


class Server:
    """An MLflow server with a database of its own."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.process = folder, None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        words = [PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )
        until = time.monotonic() + 180
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        raise TimeoutError((self.folder / "server.log").read_text())

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def runs(self, experiment):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        words = [PYTHON, "-c", READ, self.uri, experiment]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def require_the_same(run, folder):
    """Hold what the server has of a run against the run's folder."""
    history = {
        name: [[row["step"], row[name]] for row in rows_of(folder) if row[name] is not None]
        for name in rows_of(folder)[0]
        if name != "step"
    }
    history = {name: values for name, values in history.items() if values}
    found = {name: sorted(values) for name, values in run["history"].items() if not name.startswith("summary/")}
    times, measured_again = found.pop("images_per_second"), history.pop("images_per_second")
    assert found == history
    assert [step for step, _ in times] == [step for step, _ in measured_again]  # the killed session had its own speed
    config = json.loads((folder / "config.json").read_text())
    for section in ("data", "task", "augmentation", "model", "optimizer", "schedule", "training", "logging", "mesh"):
        for name, value in config[section].items():
            key = f"{section}.{name}"
            stored = run["tags"].get(f"changed.{key}", run["params"][key])
            assert stored in (value, json.dumps(value)), key


def test_it_has_every_row_once_through_a_kill_and_a_time_without_it(
    server, small_mnist, flaxcnn, command_environment, tmp_path
):
    folder, words = tmp_path / "run", ["--data.source", f"idx:{small_mnist}", "--logging.every", "2"]
    words += ["--logging.test_examples", "100", "--checkpoint.every", "10", "--training.epochs", "2"]
    words += ["--logging.mlflow", server.uri, "--out", folder]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "train", *map(str, words)],
        env=command_environment,
        capture_output=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (run,) = server.runs("flaxcnn")
    assert run["status"] == "RUNNING"
    assert max(step for step, _ in run["history"]["train_loss"]) >= 10
    server.stop()
    done = flaxcnn("train", *words, "--training.steps", "30")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: MLflow at") == 1
    server.start()
    done = flaxcnn("train", *words)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    (run,) = server.runs("flaxcnn")
    assert run["status"] == "FINISHED"
    assert run["name"] == "run"
    require_the_same(run, folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert run["history"]["summary/test_accuracy"] == [[40, summary["test_accuracy"]]]
    assert run["tags"]["summary.weights_sha256"] == summary["weights_sha256"]

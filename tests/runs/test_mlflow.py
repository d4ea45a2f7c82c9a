"""An MLflow server gets every row once, whatever happens to it; training does not wait for it, and no bit changes."""

import json
import socket
import time

import pytest

import flaxcnn
from flaxcnn.config import Data, Experiment, Logging, Training
from flaxcnn.errors import ConfigError
from flaxcnn.runs.output import mlflow, mlflow_rest
from flaxcnn.runs.output.chosen_loggers import chosen_loggers
from flaxcnn.runs.output.loggers import LoggedRun, Loggers
from tests.runs.mlflow_servers import fake_mlflow, wait_for

FAULTS = ("500", "garbage", "another", "endless", "redirect", "refused", "slow", "dripping")


@pytest.fixture
def server(monkeypatch):
    for name in ("TOKEN", "USERNAME", "PASSWORD", "URI"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setattr(mlflow, "_BETWEEN", 0.01)
    monkeypatch.setattr(mlflow, "_AGAIN", 0.05)
    monkeypatch.setattr(mlflow_rest, "SECONDS", 0.3)
    monkeypatch.setattr(mlflow, "_AT_THE_END", 3.0)
    with fake_mlflow() as server:
        yield server


def experiment(small_mnist, uri, steps=12):
    return Experiment(
        data=Data(source=f"idx:{small_mnist}"),
        training=Training(steps=steps),
        logging=Logging(every=4, test_examples=50, mlflow=uri),
    )


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def logged(server):
    """Every metric of the rows that the server has, as (key, value, step)."""
    (run,) = server.runs.values()
    return sorted(each for each in run["metrics"] if not each[0].startswith("summary/"))


def wanted(folder):
    return sorted(
        (name, value, row["step"])
        for row in rows_of(folder)
        for name, value in row.items()
        if name != "step" and value is not None
    )


def begun(server, folder, step=0, rows=(), config=None, said=None):
    """A logger that has begun, without a run."""
    logger = mlflow.MlflowLogger(server.uri, (said if said is not None else []).append)
    logger.begin(LoggedRun("mine", folder, config or {"training": {"seed": 0}}, step, rows))
    return logger


def test_the_server_has_what_the_run_has_and_the_run_no_other_bit(server, small_mnist, tmp_path, capsys):
    plain = flaxcnn.train(experiment(small_mnist, None), out=tmp_path / "plain", quiet=True).summary
    run = flaxcnn.train(experiment(small_mnist, server.uri), out=tmp_path / "run", quiet=True)
    assert capsys.readouterr().err == ""
    assert logged(server) == wanted(run.folder)
    (stored,) = server.runs.values()
    assert stored["status"] == "FINISHED"
    config = json.loads((run.folder / "config.json").read_text())
    for section in ("data", "model", "training", "logging"):
        for name, value in config[section].items():
            assert stored["params"][f"{section}.{name}"] in (value, json.dumps(value))
    final = {key: value for key, value, _ in stored["metrics"] if key.startswith("summary/")}
    assert final["summary/test_accuracy"] == run.summary["test_accuracy"]
    assert final["summary/test_accuracy_interval_95_low"] == run.summary["test_accuracy_interval_95"][0]
    assert stored["tags"]["summary.weights_sha256"] == run.summary["weights_sha256"]
    for name in ("weights_sha256", "state_sha256", "metrics_sha256"):
        assert run.summary[name] == plain[name]


def test_a_run_that_goes_on_is_the_same_run_there(server, small_mnist, tmp_path):
    for steps in (10, 10, 18):  # the second time, there is nothing to do
        run = flaxcnn.train(experiment(small_mnist, server.uri, steps), out=tmp_path / "run", quiet=True)
        assert logged(server) == wanted(run.folder)
    (stored,) = server.runs.values()
    assert stored["status"] == "FINISHED"
    assert stored["params"]["training.steps"] == "10"
    assert stored["tags"]["changed.training.steps"] == "18"
    assert [step for key, _, step in stored["metrics"] if key == "summary/test_accuracy"] == [10, 18]


def test_rows_that_a_killed_session_sent_are_not_sent_again(server, tmp_path):
    first = begun(server, tmp_path)
    for step in range(10):
        first.row(step, {"train_loss": 1.0 + step, "test_accuracy": 0.5})
    assert wait_for(lambda: len(server.steps()) == 10)
    rows = [(step, {"train_loss": 1.0 + step, "test_accuracy": 0.5}) for step in range(6)]
    again = begun(server, tmp_path, 6, rows)  # its checkpoint is of step 6
    for step in range(6, 13):
        again.row(step, {"train_loss": 1.0 + step, "test_accuracy": 0.5})
    again.close("stopped")
    assert server.steps() == server.steps("test_accuracy") == list(range(13))
    assert next(iter(server.runs.values()))["status"] == "KILLED"
    first.close("failed")
    assert len(server.steps()) == 13


def test_an_answer_that_was_lost_doubles_no_step(server, tmp_path):
    said = []
    server.fault = "lost"  # stored, and answered with an error
    logger = begun(server, tmp_path, said=said)
    for step in range(5):
        logger.row(step, {"train_loss": 1.0})
    assert wait_for(lambda: sorted(server.steps()) == list(range(5)) and not server.fault)
    logger.row(5, {"train_loss": 1.0})
    logger.close("complete")
    assert server.steps() == list(range(6))
    assert len(said) == 1
    assert "status 503" in said[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_costs_one_line_and_gets_everything_later(server, small_mnist, tmp_path, fault, capsys):
    server.fault = fault
    run = flaxcnn.train(experiment(small_mnist, server.uri), out=tmp_path / "run", quiet=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"warning: MLflow at {server.uri}: " in said
    assert "\x1b" not in said
    assert run.complete
    assert len(rows_of(run.folder)) == 3
    assert not any(path == "elsewhere" for path, _, _ in server.requests)
    server.fault = ""
    server.released.set()
    flaxcnn.train(experiment(small_mnist, server.uri), out=tmp_path / "run", quiet=True)
    assert capsys.readouterr().err == ""
    assert logged(server) == wanted(run.folder)
    assert next(iter(server.runs.values()))["status"] == "FINISHED"


def test_a_server_that_is_away_is_one_line(small_mnist, tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    run = flaxcnn.train(experiment(small_mnist, uri), out=tmp_path / "run", quiet=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be reached" in said
    assert run.complete


def test_a_slow_server_holds_up_no_row_and_the_end_for_seconds_at_most(server, tmp_path):
    server.fault, said = "slow", []
    logger = begun(server, tmp_path, said=said)
    started = time.monotonic()
    for step in range(1000):
        logger.row(step, {"train_loss": 1.0})
    assert time.monotonic() - started < 1
    logger.close("complete")
    assert time.monotonic() - started < 5
    assert len(said) == 1


def test_many_numbers_go_in_requests_of_the_sizes_that_mlflow_takes(server, tmp_path):
    config = {"model": {f"field{number}": "x" * 9000 for number in range(250)}}
    rows = [(step, {"train_loss": 1.0, **{f"m{number}": 2.0 for number in range(1300)}}) for step in range(3)]
    logger = begun(server, tmp_path, 3, rows, config)  # the fake server asserts the limits
    logger.close("stopped")
    (run,) = server.runs.values()
    assert len(run["params"]) == 250
    assert len(run["metrics"]) == 3 * 1301
    assert server.steps() == [0, 1, 2]


def test_a_request_that_fails_between_two_parts_doubles_no_number(server, tmp_path):
    rows = [(step, {"train_loss": 1.0, **{f"m{number}": 2.0 for number in range(6)}}) for step in range(300)]
    server.fault = "second part"
    begun(server, tmp_path, 300, rows).close("stopped")
    server.fault = ""
    begun(server, tmp_path, 300, rows).close("complete")
    (run,) = server.runs.values()
    assert len(run["metrics"]) == len({(name, step) for name, _, step in run["metrics"]}) == 300 * 7


def test_a_summary_whose_texts_were_refused_is_sent_by_the_next_session(server, small_mnist, tmp_path):
    server.fault = "summary's texts"
    asked = experiment(small_mnist, server.uri)
    summary = flaxcnn.train(asked, out=tmp_path / "run", quiet=True).summary
    server.fault = ""
    flaxcnn.train(asked, out=tmp_path / "run", quiet=True)
    (run,) = server.runs.values()
    assert run["tags"]["summary.weights_sha256"] == summary["weights_sha256"]
    assert sum(name == "summary/steps" for name, _, _ in run["metrics"]) == 1
    assert run["status"] == "FINISHED"


def test_credentials_are_sent_and_kept_nowhere(server, small_mnist, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-mine")
    run = flaxcnn.train(experiment(small_mnist, server.uri), out=tmp_path / "run", quiet=True)
    assert {headers["Authorization"] for _, headers, _ in server.requests} == {"Bearer t0ken-of-mine"}
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "t0ken-of-mine")
    server.requests.clear()
    server.fault = "redirect"
    flaxcnn.train(experiment(small_mnist, server.uri, 16), out=run.folder, quiet=True)
    assert {headers["Authorization"] for _, headers, _ in server.requests} == {"Basic bWU6dDBrZW4tb2YtbWluZQ=="}
    for path in run.folder.rglob("*"):
        if path.is_file():
            assert b"t0ken" not in path.read_bytes()
    assert "t0ken" not in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-mine\n")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_TOKEN: characters that no request can carry") as raised:
        flaxcnn.train(experiment(small_mnist, server.uri), out=tmp_path / "other", quiet=True)
    assert "t0ken" not in str(raised.value)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_run_folder_alone_makes_no_command_send_anything(server, small_mnist, flaxcnn, tmp_path):
    words = ("--data.source", f"idx:{small_mnist}", "--logging.every", "4", "--logging.test_examples", "0")
    folder = tmp_path / "run"
    done = flaxcnn("train", *words, "--training.steps", "8", "--logging.mlflow", server.uri, "--out", folder)
    assert done.returncode == 0, done.stderr
    server.requests.clear()
    done = flaxcnn("resume", folder)
    assert done.returncode == 0, done.stderr
    assert f"nothing is sent to {server.uri}, which the run's folder alone names" in done.stderr
    assert f"--logging.mlflow {server.uri}" in done.stderr
    assert server.requests == []
    done = flaxcnn("resume", folder, "--logging.mlflow", server.uri)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert server.requests
    assert server.steps() == [0, 4]
    done = flaxcnn("resume", folder, "--logging.mlflow", "host:5000")
    assert done.returncode == 2
    assert "--logging.mlflow: out of range; expected http://HOST:PORT" in done.stderr


def test_a_server_of_a_run_folder_is_taken_where_the_environment_names_it_too(server, monkeypatch):
    logging, said = Logging(mlflow=server.uri), []
    assert chosen_loggers(logging, [], said.append, "runs/a-001") == []
    assert len(said) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.uri}/")
    (logger,) = chosen_loggers(logging, [], said.append, "runs/a-001")
    assert isinstance(logger, mlflow.MlflowLogger)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://another.example")
    assert chosen_loggers(logging, [], said.append, "runs/a-001") == []
    assert server.requests == []


def test_a_damaged_record_is_one_line(server, tmp_path):
    (tmp_path / "mlflow.json").write_text('{"id": "\' or 1"}')
    logger = mlflow.MlflowLogger(server.uri, print)
    said = []
    with Loggers([logger], LoggedRun("a", tmp_path, {}, 0, []), said.append):
        pass
    assert len(said) == 1
    assert "damaged at id" in said[0]
    assert server.requests == []

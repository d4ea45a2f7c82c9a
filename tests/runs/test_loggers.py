"""Rows go to every logger, as `metrics.jsonl` has them; a logger that fails costs a line, and nothing else."""

import csv
import json

import pytest

import flaxcnn
from flaxcnn.config import Data, Experiment, Logging, Training
from flaxcnn.errors import ConfigError


def experiment(small_mnist, steps=12, **logging):
    return Experiment(
        data=Data(source=f"idx:{small_mnist}"),
        training=Training(steps=steps),
        logging=Logging(every=4, test_examples=50, **logging),
    )


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Kept:
    """A logger of a user's own."""

    def __init__(self, fails=""):
        self.calls, self.fails = [], fails

    def begin(self, run):
        self.run = run
        self._call("begin", run.step)

    def row(self, step, numbers):
        self._call("row", (step, dict(numbers)))

    def summary(self, numbers):
        self._call("summary", dict(numbers))

    def close(self, ending):
        self._call("close", ending)

    def _call(self, name, what):
        self.calls.append((name, what))
        if name == self.fails:
            raise OSError("the disk of another machine is full")


def test_a_logger_of_ones_own_is_told_everything_in_order(small_mnist, tmp_path):
    own = Kept()
    assert isinstance(own, flaxcnn.Logger)
    run = flaxcnn.train(experiment(small_mnist), out=tmp_path / "run", loggers=[own], quiet=True)
    assert [name for name, _ in own.calls] == ["begin", "row", "row", "row", "summary", "close"]
    assert own.run.folder == run.folder
    assert own.run.config["training"]["steps"] == 12
    logged = [{"step": step, **numbers} for name, what in own.calls if name == "row" for step, numbers in [what]]
    assert logged == [{name: value for name, value in row.items() if value is not None} for row in rows_of(run.folder)]
    assert own.calls[-2][1] == run.summary
    assert own.calls[-1] == ("close", "complete")
    longer = Kept()
    flaxcnn.train(experiment(small_mnist, 16), out=run.folder, loggers=[longer], quiet=True)
    assert longer.run.step == 12
    assert [step for step, _ in longer.run.rows] == [0, 4, 8]
    assert [what[0] for name, what in longer.calls if name == "row"] == [12]


@pytest.mark.parametrize("fails", ["begin", "row", "summary", "close"])
def test_a_logger_that_raises_costs_a_line_and_no_bit(small_mnist, tmp_path, fails, capsys):
    plain = flaxcnn.train(experiment(small_mnist), out=tmp_path / "plain", quiet=True).summary
    other, failing = Kept(), Kept(fails)
    run = flaxcnn.train(experiment(small_mnist), out=tmp_path / "run", loggers=[failing, other], quiet=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Kept raised OSError: the disk of another machine is full; it logs nothing more" in said
    assert [name for name, _ in failing.calls].count(fails) == 1
    assert failing.calls[-1][0] == fails
    assert [name for name, _ in other.calls] == ["begin", "row", "row", "row", "summary", "close"]
    for name in ("weights_sha256", "state_sha256", "metrics_sha256"):
        assert run.summary[name] == plain[name]


def test_an_error_in_training_is_told_to_the_loggers(small_mnist, tmp_path):
    def fail(moment):
        raise RuntimeError("mine")

    own = Kept()
    with pytest.raises(RuntimeError, match="mine"):
        flaxcnn.train(
            experiment(small_mnist), out=tmp_path / "r", hooks=[flaxcnn.Hook(6, fail)], loggers=[own], quiet=True
        )
    assert own.calls[-1] == ("close", "failed")


@pytest.mark.parametrize("given", [object(), Kept, print])
def test_what_is_no_logger_is_said_before_anything_is_written(small_mnist, tmp_path, given):
    with pytest.raises(ConfigError, match=r"loggers\[0\]: not a logger; expected an object with the methods begin"):
        flaxcnn.train(experiment(small_mnist), out=tmp_path / "run", loggers=[given])
    assert not (tmp_path / "run").exists()


def test_a_table_has_the_numbers_of_the_rows_after_a_resume_too(small_mnist, tmp_path):
    folder = tmp_path / "run"
    for steps in (10, 18):
        flaxcnn.train(experiment(small_mnist, steps, csv=True), out=folder, quiet=True)
        with (folder / "metrics.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
        found = [{name: float(value) for name, value in line.items()} for line in table]
        rows = rows_of(folder)
        assert found == [{name: value for name, value in row.items() if value is not None} for row in rows]
        assert [row["step"] for row in rows] == list(range(0, steps, 4))


def test_rows_of_a_killed_session_are_taken_back_from_the_table(tmp_path):
    from flaxcnn.runs.output.csv_file import CsvFile
    from flaxcnn.runs.output.loggers import LoggedRun

    (tmp_path / "metrics.csv").write_text("step,train_loss\n0,2.5\n4,2.0\n8,1.5\n12,9")  # half a line
    table = CsvFile()
    table.begin(LoggedRun("a", tmp_path, {}, 6, [(0, {"train_loss": 2.5}), (4, {"train_loss": 2.0})]))
    table.row(8, {"train_loss": 1.25})
    assert (tmp_path / "metrics.csv").read_text() == "step,train_loss\n0,2.5\n4,2.0\n8,1.25\n"
    table.begin(LoggedRun("a", tmp_path, {}, 0, []))
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:5000", "expected http://HOST:PORT or https://HOST:PORT"),
        ("sqlite:///mlruns.db", "expected http://HOST:PORT"),
        ("http://", "expected http://HOST:PORT"),
        ("http://host:0", "expected http://HOST:PORT"),
        ("http://host:99999", "expected http://HOST:PORT"),
        ("http://host/a b", "expected http://HOST:PORT"),
        ("http://host\n", "expected http://HOST:PORT"),
        ("http://host?a=b", "expected http://HOST:PORT"),
        ("http://me:secret@host", "an address with a user in it.*MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_an_address_that_is_none_is_said(address, said):
    with pytest.raises(ConfigError, match=said) as raised:
        Logging(mlflow=address)
    assert "secret" not in str(raised.value)


def test_an_address_of_a_server_is_taken():
    for address in ("http://127.0.0.1:5000", "https://example.org/mlflow/", "http://[::1]:5000"):
        assert Logging(mlflow=address).mlflow == address

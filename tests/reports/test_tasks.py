"""The report of a run of each task, with groups, and of one whose data were passed in Python."""

import time

import numpy as np
import pytest

import flaxcnn.data
from flaxcnn import config
from flaxcnn.reports.material import gather
from flaxcnn.reports.page import page
from flaxcnn.runs.folder.run_folder import open_run_folder
from flaxcnn.runs.train import train
from tests.pages import require_alone
from tests.tasks.test_runs import DATASETS, experiment_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def drawn_data(light_programs):
    """Sources that are drawn there, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flaxcnn.data, "load", lambda source, options=None, **more: DATASETS[source])
        yield


@pytest.fixture(scope="module")
def reported(drawn_data, tmp_path_factory):
    """What trains a run and returns its report, with what it was made of."""

    def report(source, **task):
        folder = tmp_path_factory.mktemp("reports") / "run"
        file = config.ExperimentFile(source, experiment_of(source, config.Task(**task)), ())
        assert train(file, file.experiment, str(folder), started=time.perf_counter()) == 0
        found = gather("run", open_run_folder(str(folder)), {})
        assert found.lacking == ()
        return found, require_alone(page([found]))

    return report


def test_labels(reported):
    run, parsed = reported("labels", name="multilabel")
    assert {"Each label", "Reliability", "Precision and recall", "Mistakes"} <= set(parsed.of("h2"))
    assert {"top", "bright", "both"} <= set(parsed.of("th"))
    assert "20 in the test images, never divided between splits" in parsed.of("dd")
    (mistakes,) = run.task.mistakes(run.predicted, run.calibration, 5)
    assert mistakes.errors_N.mean() == pytest.approx(1 - run.summary["test_subset_accuracy"])
    assert {each.split()[0] for each in mistakes.said} == set(mistakes.of)
    assert {f"why {each}" for each in mistakes.of} <= set(
        parsed.values("img", "alt")
    )  # of what is wrong, not the surest


def test_numbers(reported):
    run, parsed = reported("grams", name="regression")
    assert {"Predicted and true numbers", "Do the 90 % intervals hold?"} <= set(parsed.of("h2"))
    assert "The largest errors" in parsed.of("h3")
    (mistakes,) = run.task.mistakes(run.predicted, run.calibration, 5)
    assert mistakes.errors_N.mean() == pytest.approx(run.summary["test_mae"], rel=1e-5)
    assert "mean absolute error of grams" in parsed.of("th")
    assert "group" in parsed.of("th")


def test_several_heads(reported):
    run, parsed = reported("both", name="several", heads=("amount=regression:0.5", "kind=classification"))
    titles = set(parsed.of("h2"))
    assert {"amount: Predicted and true numbers", "kind: Confusion", "kind: Reliability"} <= titles
    assert {"The largest errors: amount", "The most confident mistakes: kind"} <= set(parsed.of("h3"))
    have = run.summary["test_kind_examples"]
    assert any(f"{have} of them have a target of kind." in each for each in parsed.of("p"))
    amount, kind = run.task.mistakes(run.predicted, run.calibration, 5)
    for found, targets, lacking in (
        (amount, run.test.targets["amount"], np.isnan(run.test.targets["amount"])),
        (kind, run.test.targets["kind"], run.test.targets["kind"] < 0),
    ):
        assert len(targets) == len(found.errors_N)
        np.testing.assert_array_equal(np.isnan(found.errors_N), lacking)
    assert np.nanmean(kind.errors_N) == pytest.approx(1 - run.summary["test_kind_accuracy"])


def test_two_runs_of_numbers_show_the_images_on_which_their_errors_differ_most(reported):
    run, _ = reported("grams", name="regression")
    numbers = run.test.predictions["numbers"] + np.linspace(0, 5, 80, dtype=np.float32)[:, None]
    other = run._replace(called="other", test=run.test._replace(predictions={"numbers": numbers}))
    parsed = require_alone(page([run, other]))
    assert "Where run and other differ" in parsed.of("h2")
    assert "That of run." in parsed.of("p")
    assert "run is better than other by rmse at the 5 % level" in parsed.of("p")


def test_a_run_of_data_from_python_has_a_report_without_images(tmp_path, drawn_data):
    experiment = experiment_of("classes", config.Task(), training=config.Training(steps=4, batch_size=20))
    flaxcnn.train(experiment, dataset=DATASETS["classes"], out=tmp_path / "run")
    found = gather("run", open_run_folder(str(tmp_path / "run")), {})
    (line,) = found.lacking
    assert line.startswith("The data are not there")
    parsed = require_alone(page([found]))
    assert line in parsed.of("p")
    assert [each for each in parsed.of("p") if "no command repeats that" in each]
    assert "Filters of the first layer" in parsed.of("h2")
    assert "Map of the last features" not in parsed.of("h2")

"""`flaxcnn report`: the page of a run, of one whose data are gone, of several beside each other, and mistakes."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from sklearn import metrics as scikit_learn

from flaxcnn.cli import main
from flaxcnn.cli.experiment import load_trained, parse_experiment
from flaxcnn.cli.training import TrainOptions
from flaxcnn.config import Data, Experiment, Model, Optimizer, Task, Training
from flaxcnn.evaluation.predictions import load_predictions, save_predictions
from flaxcnn.reports.about import training_command
from flaxcnn.reports.material import gather
from flaxcnn.reports.network import principal
from flaxcnn.reports.page import page
from flaxcnn.runs.evaluate import evaluate_run
from flaxcnn.runs.folder.record import read_config
from flaxcnn.runs.folder.run_folder import open_run_folder
from tests.pages import Parsed, require_alone

HOSTILE = "</dd><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
SECTIONS = [
    *("What was trained on what", "Metrics", "Curves", "Each class", "Confusion", "Reliability"),
    *("Precision and recall", "Mistakes", "Mistakes by brightness, size and group", "Filters of the first layer"),
    *("Map of the last features", "Environment", "How to reproduce it"),
]


@pytest.fixture(scope="module")
def tiny_report(tiny_run, commands, tmp_path_factory):
    """What the command writes of a run with its data, and what it prints."""
    out = tmp_path_factory.mktemp("report") / "tiny.html"
    done = commands.run(["report", tiny_run, "--out", out], out.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(out))
    return out.read_bytes()


def copied(run, to):
    return shutil.copytree(run, to, ignore=shutil.ignore_patterns("checkpoints"))


def of(folder, called="run"):
    return gather(called, open_run_folder(str(folder)), {})


def table(parsed, title):
    """The cells of the tables of a section, row by row, without their heads; empty ones are left out."""
    text = parsed.texts
    start = next(place for place, (tag, each) in enumerate(text) if tag == "h2" and each == title)
    rows: list[list[str]] = []
    for tag, each in text[start + 1 :]:
        if tag == "h2":
            break
        if tag == "th":
            if rows and len(rows[-1]) == 1:  # of the head
                rows.pop()
            rows.append([each])
        elif tag == "td":
            rows[-1].append(each)
    return rows


@pytest.mark.slow
def test_a_page_has_every_section_and_stands_alone(tiny_report):
    parsed = require_alone(tiny_report)
    assert parsed.of("h2") == SECTIONS
    assert len(parsed.values("img", "src")) >= 18 * 2 + 16  # mistakes with their maps, and the filters
    assert len(tiny_report) < 2**20
    assert "test image" in "".join(parsed.shown())


@pytest.mark.slow
def test_the_metrics_are_those_of_evaluate_and_of_scikit_learn(tiny_report, tiny_run):
    shown = dict(row[:2] for row in table(Parsed(tiny_report), "Metrics") if len(row) > 2)
    intervals = {row[0]: row[2] for row in table(Parsed(tiny_report), "Metrics") if len(row) > 2}
    found = load_predictions(tiny_run / "predictions.npz")
    answers = found.predictions["logits"].argmax(1)
    assert shown["accuracy"] == f"{scikit_learn.accuracy_score(found.targets, answers):.4f}"
    evaluated = evaluate_run(open_run_folder(str(tiny_run))).metrics
    assert len(shown) == len(evaluated)
    exact = json.loads((tiny_run / "summary.json").read_text())["test_accuracy_interval_95"]
    for name, (value, ends) in evaluated.items():
        low, high = exact if name == "accuracy" else ends
        assert shown[name.replace("_", " ")] == f"{value:.4f}"
        assert intervals[name.replace("_", " ")] == f"{low:.4f} to {high:.4f}"


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(tiny_report, tiny_run):
    again = page([of(tiny_run, str(tiny_run))])
    assert again == page([of(tiny_run, str(tiny_run))])
    assert Parsed(again).of("td") == Parsed(tiny_report).of("td")


@pytest.mark.slow
def test_mistakes_by_brightness_count_every_test_image_once(tiny_report):
    rows = [row for row in table(Parsed(tiny_report), SECTIONS[8]) if len(row) == 4]
    assert len(rows) == 5
    counts = np.array([int(row[1]) for row in rows])
    shares = np.array([float(row[2]) for row in rows])
    accuracy = next(float(row[1]) for row in table(Parsed(tiny_report), "Metrics") if row[0] == "accuracy")
    assert counts.sum() == 300
    assert counts @ shares / 300 == pytest.approx(1 - accuracy, abs=1e-4)


@pytest.mark.slow
def test_a_run_whose_data_are_gone_says_what_is_missing(shapes_run, commands, tmp_path):
    run, _ = shapes_run
    done = commands.run(["report", run, "--out", "gone.html"], tmp_path)
    assert done.returncode == 0
    assert "The data are not there" in done.stderr
    parsed = require_alone((tmp_path / "gone.html").read_bytes())
    assert [each for each in parsed.of("p") if each.startswith("The data are not there")]
    assert set(SECTIONS) - set(parsed.of("h2")) == {SECTIONS[8], "Map of the last features"}
    assert "square <b>&" in parsed.shown()
    moved = ["--data", f"folder:{run.parent / 'elsewhere'}"]
    done = commands.run(["report", run, "--out", "there.html", *moved], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    parsed = require_alone((tmp_path / "there.html").read_bytes())
    assert set(SECTIONS) <= set(parsed.of("h2"))
    done = commands.run(["report", run, "--out", "wrong.html", "--data", "folder:nowhere"], tmp_path)
    assert done.returncode == 2
    assert not (tmp_path / "wrong.html").exists()


@pytest.mark.slow
def test_names_from_strangers_are_text(shapes_run, tmp_path):
    run = copied(shapes_run[0], tmp_path / "run")
    form, config = (json.loads((run / name).read_text()) for name in ("form.json", "config.json"))
    form["target_names"][0] = HOSTILE
    config["name"], config["data"]["source"] = HOSTILE, f"folder:{HOSTILE}"
    environment = json.loads((run / "environment.json").read_text())
    environment["packages"][HOSTILE] = environment["git_commit"] = HOSTILE
    for name, content in (("form", form), ("config", config), ("environment", environment)):
        (run / f"{name}.json").write_text(json.dumps(content))
    other = copied(run, tmp_path / "other")
    for content in (page([of(run, HOSTILE)]), page([of(run, HOSTILE), of(other, f"{HOSTILE}2")])):
        parsed = require_alone(content)
        assert HOSTILE in parsed.shown()
        assert f"folder:{HOSTILE}" in parsed.shown()
        assert not [value for value in parsed.values("img", "src") if value == "x"]


@pytest.mark.slow
def test_two_runs_are_compared_on_the_same_images(tiny_run, tmp_path):
    other = copied(tiny_run, tmp_path / "other")
    found = load_predictions(other / "predictions.npz")
    logits = found.predictions["logits"].copy()
    right = np.flatnonzero(logits.argmax(1) == found.targets)
    wrong = np.flatnonzero(logits.argmax(1) != found.targets)
    lost, won = right[:40], wrong[:3]
    logits[lost] = np.roll(logits[lost], 1, axis=1)
    logits[won] = 20 * np.eye(10)[found.targets[won]]
    save_predictions(other / "predictions.npz", found._replace(predictions={"logits": logits}))
    content = page([of(tiny_run, "first"), of(other, "second")])
    parsed = require_alone(content)
    lines = parsed.of("p")
    assert any(each.startswith("of 300 examples, only first gets 40 right, only second 3") for each in lines)
    assert "first is more accurate than second at the 5 % level" in lines
    told = " ".join(" ".join(each.split()) for each in lines)
    assert f"Only first is right on 40 images, only second on 3; both are wrong on {len(wrong) - 3}." in told
    assert len(parsed.values("img", "src")) == 24 + 3
    assert {"first, validation", "second, validation"} <= set(parsed.of("span"))
    assert parsed.of("h2").count("How to reproduce it") == 2


@pytest.mark.slow
def test_runs_with_other_test_images_are_shown_but_not_compared(tiny_run, shapes_run):
    parsed = require_alone(page([of(tiny_run, "digits"), of(shapes_run[0], "shapes")]))
    assert [each for each in parsed.of("p") if each.startswith("Not compared: ") and "other test images" in each]
    assert not [each for each in parsed.of("h2") if each.startswith("Where ")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "RUN is missing"),
        (["{run}", "{run}"], "named twice"),
        (["{run}", "."], "not a run folder"),
        (["nowhere"], "no such run folder"),
        (["{run}", "{other}"], "--out is missing"),
        (["{run}", "--out", "mine.html"], "mine.html: exists already, and is no report"),
        (["{run}", "--out", "no/where.html"], "no such folder"),
        (["{run}", "--model", "{model}"], "not what this run has"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tiny_run, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    (tmp_path / "net.py").write_text("Net = None")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    given = [word.format(run=tiny_run, other=other, model="net.py:Net") for word in words]
    assert main(["report", *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert not (tiny_run / "report.html").exists()


@pytest.mark.parametrize("name", ["predictions.npz", "validation_predictions.npz"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logits: logits[:, :9], "not this run's predictions"),
        (lambda logits: np.where(logits == logits.max(), np.nan, logits), "not this run's predictions"),
        (lambda logits: logits[:0], "damaged: arrays of different lengths"),
    ],
    ids=["columns", "nan", "none"],
)
def test_predictions_of_another_run_are_refused(tiny_run, name, change, said, tmp_path, capsys):
    run = copied(tiny_run, tmp_path / "run")
    found = load_predictions(run / name)
    save_predictions(run / name, found._replace(predictions={"logits": change(found.predictions["logits"])}))
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_an_earlier_report_is_replaced_and_a_link_is_not_followed(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = copied(tiny_run, tmp_path / "run")
    assert main(["report", "run"]) == 0
    first = (run / "report.html").read_bytes()
    (run / "report.html").write_bytes(first + b"<!-- old -->")
    assert main(["report", "run"]) == 0
    assert (run / "report.html").read_bytes() == first
    (tmp_path / "link.html").symlink_to(run / "report.html")
    assert main(["report", "run", "--out", "link.html"]) == 2
    assert "is no report" in capsys.readouterr().err
    (run / "summary.json").unlink()
    assert main(["report", "run"]) == 2
    assert "file missing from this run" in capsys.readouterr().err


def test_the_command_that_repeats_a_run_has_its_options(tiny_run):
    experiment = read_config(open_run_folder(str(tiny_run))).file.experiment
    words = training_command(experiment).split()
    assert {"--data.source", "--data.validation", "--training.steps"} < set(words)
    assert words[words.index("--training.steps") + 1] == "12"


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        Experiment(
            data=Data(source="folder:my photos <b>", size=(20, 24), cache=False, validation=0.1),
            training=Training(epochs=2, class_weights=(1.0, 2.5)),
            model=Model(freeze=("a", "b")),
        ),
        Experiment(
            data=Data(source="npz:x"),
            task=Task(name="several", heads=("amount=regression:0.5", "kind=classification")),
            training=Training(steps=12),
            optimizer=Optimizer(name="sgd", nesterov=True, learning_rate=1e-5),
        ),
    ],
    ids=["default", "photographs", "several"],
)
def test_the_command_trains_the_same_experiment(experiment):
    words = shlex.split(training_command(experiment))
    assert words[:2] == ["flaxcnn", "train"]
    _, options = parse_experiment(TrainOptions, words[2:], "flaxcnn train", load_trained)
    assert options.experiment == experiment


def test_the_plane_of_a_map_is_that_of_the_largest_variance():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 2)) * [5, 2]
    directions, _ = np.linalg.qr(rng.normal(size=(6, 2)))
    points, shares = principal(hidden @ directions.T + 3)
    distances = [np.linalg.norm(each[:, None] - each[None], axis=2) for each in (hidden, points)]
    np.testing.assert_allclose(*distances, atol=1e-9)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[1] > 0.05
    one, share = principal(np.asarray([[1.0], [3.0]]))
    np.testing.assert_allclose(one, [[-1, 0], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(share, [1, 0])
    assert not re.search("nan", str(principal(np.ones((4, 3)))))

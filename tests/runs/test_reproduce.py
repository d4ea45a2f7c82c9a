"""`flaxcnn reproduce` trains every seed, goes on with what is half done, and judges what the config expects."""

import json
import shutil

import pytest

from flaxcnn.evaluation.reproduction import reported
from flaxcnn.runs.folder.record import read_config, reported_numbers
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.tasks import create_task

CONFIG = """
from flaxcnn.config import Data, Experiment, Logging, Training

experiment = Experiment(
    data=Data(source="idx:{data}"),
    training=Training(batch_size=50),
    logging=Logging(every=10, test_examples=100),
)
published = ((0, 2.3, 0.1),)
expected = (("test_accuracy", {least}),)
"""


@pytest.fixture
def config(small_mnist, tmp_path):
    def write(least):
        path = tmp_path / "mine.py"
        path.write_text(CONFIG.format(data=small_mnist, least=least))
        return path

    return write


@pytest.fixture(scope="module")
def two_seeds(small_mnist, commands, tmp_path_factory):
    """The folder `both` of two seeds, to be copied, and what the command printed."""
    folder = tmp_path_factory.mktemp("reproduced")
    (folder / "mine.py").write_text(CONFIG.format(data=small_mnist, least=0.3))
    done = commands.run(["reproduce", folder / "mine.py", "--seeds", 2, "--out", "both"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "both", done.stdout


@pytest.mark.slow
def test_two_seeds_are_trained_set_beside_what_is_expected_and_not_trained_again(two_seeds, config, flaxcnn, tmp_path):
    shutil.copytree(two_seeds[0], tmp_path / "both")
    report = (tmp_path / "both" / "reproduce.md").read_text()
    assert "Everything is as expected." in report
    assert "Of the 2 numbers on record from the paper, " in report
    assert report in two_seeds[1]
    summaries = [json.loads((tmp_path / "both" / f"seed-00{s}" / "summary.json").read_text()) for s in (0, 1)]
    assert [each["seed"] for each in summaries] == [0, 1]
    mean = sum(each["test_accuracy"] for each in summaries) / 2
    assert f"{mean:.4f}" in report
    kept = json.loads((tmp_path / "both" / "reproduce.json").read_text())
    assert [each["weights_sha256"] for each in kept["runs"]] == [each["weights_sha256"] for each in summaries]
    assert (tmp_path / "both" / "reproduce.png").stat().st_size > 5000
    # A third seed and a bound that does not hold: the two runs are complete and stay as they are.
    failed = flaxcnn("reproduce", config(0.99), "--seeds", 3, "--out", "both")
    assert failed.returncode == 1
    assert failed.stdout.count("is complete") == 2
    assert "Not as expected: test_accuracy." in failed.stdout
    alone = flaxcnn("reproduce", config(0.3), "--seeds", 1, "--out", "both").stdout
    (one,) = [line for line in alone.splitlines() if "test_accuracy |" in line]
    assert "– to –" in one
    assert "One seed gives no intervals" in alone


def test_what_no_run_reports_is_refused_before_anything_is_trained(config, flaxcnn, tmp_path):
    path = config(0.3)
    path.write_text(path.read_text().replace('"test_accuracy"', '"test_accuracy_first_2000"'))
    done = flaxcnn("reproduce", path, "--seeds", 2, "--out", "both")  # its rows look at 100 test images
    assert done.returncode == 2
    assert done.stdout == ""
    line = "flaxcnn: test_accuracy_first_2000: expected of a number that no run reports. Did you mean"
    assert done.stderr == f"{line} 'test_accuracy_first_100'?\n"
    assert not (tmp_path / "both").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--data.validation", 0.2), ("--logging.test_examples", 0)])
def test_the_numbers_that_may_be_expected_are_those_of_a_summary(options, config, flaxcnn, tmp_path):
    done = flaxcnn("train", config(0.3), "--training.steps", 2, "--out", "run", *options)
    assert done.returncode == 0, done.stderr
    folder = RunFolder(tmp_path / "run")
    experiment = read_config(folder).file.experiment
    names = reported_numbers(experiment, create_task(experiment.task), test_images=300)
    assert sorted(names) == sorted(each.metric for each in reported([folder.read_json("summary.json")], []))


@pytest.mark.slow
def test_what_is_not_defined_of_test_images_of_one_class_is_said_in_words(flaxcnn, small_mnist, tmp_path):
    """No area under a curve: there is nothing from which the class could be told apart."""
    shutil.copytree(small_mnist, tmp_path / "data")
    labels = tmp_path / "data" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes(300))
    words = ("--data.source", "idx:data", "--training.steps", 2, "--training.batch_size", 20)
    assert flaxcnn("train", *words, "--out", "run").returncode == 0
    done = flaxcnn("evaluate", "run")
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout
    why = "not defined for these test images: all targets are the same"
    assert {line.split(maxsplit=1)[0] for line in done.stdout.splitlines() if line.endswith(why)} == {
        "macro_roc_auc",
        "macro_average_precision",
    }
    same = flaxcnn("compare", "run", "run")
    assert (same.returncode, "nan" in same.stdout) == (0, False)


@pytest.mark.slow
def test_compare_says_whether_two_runs_differ(two_seeds, flaxcnn):
    first, second = (two_seeds[0] / name for name in ("seed-000", "seed-001"))
    same = flaxcnn("compare", first, first)
    assert same.returncode == 0, same.stderr
    assert "p = 1" in same.stdout
    other = flaxcnn("compare", first, second)
    assert "McNemar" in other.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reproduce", "paper_mnist", "--seeds", "0"), "--seeds: out of range; expected at least 1, found 0"),
        (("reproduce", "paper_mnis"), "paper_mnis: unknown config"),
        (("compare", "nowhere", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(words, message, flaxcnn):
    done = flaxcnn(*words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "bound", ['expected = (("test_accuracy", "0.9"),)', "expected = (3,)", 'published = ((0, "2.3", 0.1),)']
)
def test_values_to_compare_with_are_checked_before_anything_is_trained(bound, flaxcnn, tmp_path):
    (tmp_path / "mine.py").write_text(f"from flaxcnn.config import Experiment\nexperiment = Experiment()\n{bound}\n")
    done = flaxcnn("reproduce", "mine.py", "--seeds", "2")
    assert done.returncode == 2
    assert "mine.py: values in the wrong form; expected" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_percent_in_the_place_of_a_printed_accuracy_is_refused_before_anything_is_trained(config, flaxcnn, tmp_path):
    path = config(0.0)
    path.write_text(path.read_text().replace("((0, 2.3, 0.1),)", "((0, 2.3, 12),)"))
    done = flaxcnn("reproduce", path, "--seeds", 2, "--out", "both")
    assert done.returncode == 2
    assert "published[0]: no such accuracy; expected a fraction of 1, found 12" in done.stderr
    assert not (tmp_path / "both").exists()


def test_a_misspelt_expectation_shows_after_the_first_seed(config, flaxcnn, tmp_path):
    path = config(0.0)
    path.write_text(path.read_text().replace('test_accuracy"', 'test_acuracy"'))
    done = flaxcnn("reproduce", path, "--seeds", 2, "--out", "both")
    assert done.returncode == 2
    assert "test_acuracy: expected of a number that no run reports. Did you mean 'test_accuracy'?" in done.stderr
    assert not (tmp_path / "both" / "seed-001").exists()


@pytest.mark.slow
def test_runs_with_other_test_images_are_not_compared(tiny_run, small_mnist, flaxcnn, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(small_mnist, other)
    images = bytearray((other / "t10k-images-idx3-ubyte").read_bytes())
    images[-1] ^= 1
    (other / "t10k-images-idx3-ubyte").write_bytes(images)
    assert flaxcnn("train", "--data.source", f"idx:{other}", "--out", "b", "--training.steps", 2).returncode == 0
    done = flaxcnn("compare", tiny_run, "b")
    assert done.returncode == 2
    assert "b: these runs have other test images" in done.stderr

"""Withheld answers by hand, and strange images told by Fashion-MNIST shown to a network of digits."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from flaxcnn import data
from flaxcnn.errors import ConfigError
from flaxcnn.prediction.abstaining import abstention, withheld
from flaxcnn.prediction.loading import load

FASHION = "/usr/share/datasets/fashion-mnist"


def answers(probabilities, right):
    made = [
        {"class": "a" if good else "b", "probability": each} for each, good in zip(probabilities, right, strict=True)
    ]
    return made, ["a"] * len(made)


def test_the_lowest_threshold_with_the_precision_is_taken():
    """Right, right, wrong, right, wrong, by falling probability: 2/2, 2/3, 3/4, 3/5."""
    made = answers([0.9, 0.8, 0.7, 0.6, 0.5], [True, True, False, True, False])
    assert abstention(*made, 0.75) == (0.6, 3, 4, 5)
    assert abstention(*made, 0.76) == (0.8, 2, 2, 5)
    assert abstention(*made, 0.6) == (0.5, 3, 5, 5)
    assert "2 of 5 have it, of which 100.0 % are right (95 % interval 15.8 to 100.0 %)" in abstention(*made, 0.9).line


def test_equal_probabilities_are_answered_all_or_none():
    made = answers([0.9, 0.9, 0.9], [True, True, False])
    assert abstention(*made, 0.6) == (0.9, 2, 3, 3)
    with pytest.raises(ConfigError, match=r"no threshold reaches it.*at most 0\.6667"):
        abstention(*made, 0.7)


def test_a_withheld_answer_still_says_what_was_most_probable():
    answer = {"class": "a", "probability": 0.5, "top": [{"class": "a", "probability": 0.5}]}
    assert withheld(answer, 0.6) == {**answer, "class": None, "guess": "a"}
    assert withheld(answer, 0.5) == {**answer, "guess": "a"}


def test_the_command_withholds_and_says_what_it_is_worth(shapes_run, flaxcnn):
    folder, paths = shapes_run
    trained = load(folder)
    logits, targets = trained.validation.predictions["logits"], trained.validation.targets
    best = float(np.mean(logits.argmax(1) == targets))
    wanted = trained.abstention(best + 0.01 if best < 1 else 1.0)
    done = flaxcnn("predict", folder, *paths, "--format", "jsonl", "--precision", str(best + 0.01 if best < 1 else 1.0))
    assert done.returncode == 0
    assert done.stderr == f"flaxcnn: {wanted.line}\n"
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["class"] is None for each in said] == [each["probability"] < wanted.threshold for each in said]


@pytest.mark.slow
@pytest.mark.skipif(not Path(FASHION).is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_clothes_are_strange_to_a_network_of_digits(commands, tmp_path):
    """`familiar` tells them, by scikit-learn's AUROC; of other digits as many are below 0.05 as of the validation's."""
    clothes = data.load(f"idx:{FASHION}").test.images[:500]
    options = ("--training.steps", "300", "--data.validation", "0.1", "--logging.test_examples", "0")
    trained = commands.run(["train", *options, "--out", "run"], tmp_path, seconds=300)
    assert trained.returncode == 0, trained.stderr
    model, digits = load(tmp_path / "run"), data.load("mnist").test.images[:500]
    familiar = [[each["familiar"] for each in model.predict(np.asarray(images))] for images in (digits, clothes)]
    auroc = sklearn.metrics.roc_auc_score([1] * 500 + [0] * 500, np.concatenate(familiar))
    assert auroc > 0.8
    assert np.mean(np.array(familiar[0]) < 0.05) == pytest.approx(0.05, abs=0.04)

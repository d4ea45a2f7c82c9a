"""The models as parameters of tests that compile or train: the small ones; the others are `zoo`."""

import pytest

from flaxcnn.models import MODELS

SAMPLE = "resnet18_32px"  # of the large networks, the one that compiles fastest: among the slow tests, which CI runs


def each(wanted=lambda variant: True, mark=pytest.mark.zoo):
    """The names of models, those that take long marked: `zoo` where they are compiled, `slow` where they are traced."""

    def marked(name):
        if MODELS[name].parameters < 1e6:
            return name
        return pytest.param(name, marks=pytest.mark.slow if name == SAMPLE else mark)

    return [marked(name) for name, variant in MODELS.items() if wanted(variant)]

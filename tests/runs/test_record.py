"""A run goes on with the data that it recorded, and with no other."""

import numpy as np
import pytest

from flaxcnn.data import from_arrays
from flaxcnn.errors import DataError
from flaxcnn.runs.folder.record import require_same_digests

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
TARGETS = {"kind": [0, 1, 1, 0, 1, 0], "mg": [1.0, 2, 3, 4, 5, 6]}
GROUPS = np.arange(6) // 2


def made(images=IMAGES, targets=TARGETS, groups=GROUPS):
    return from_arrays(images, targets, test=np.arange(6) >= 4, groups=groups)


def test_the_same_data_are_accepted():
    require_same_digests(made().digests, made(IMAGES.copy()))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"images": 255 - IMAGES}, "train/images"),
        ({"targets": {**TARGETS, "mg": [1.0, 2, 3, 4, 5, 7]}}, "test/targets/mg"),
        ({"targets": {"kind": TARGETS["kind"]}}, "train/targets/mg"),
        ({"groups": [0, 1, 1, 1, 2, 2]}, "train/groups"),
        ({"groups": None}, "train/groups"),
    ],
)
def test_other_images_targets_or_groups_are_refused_by_their_name(changed, name):
    with pytest.raises(DataError) as refused:
        require_same_digests(made().digests, made(**changed))
    assert refused.value.where == f"arrays: {name}"

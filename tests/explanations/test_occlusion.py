"""Occlusion by hand on a linear model, and at an endpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.explanations.explaining import explained
from flaxcnn.explanations.options import How
from flaxcnn.explanations.resizing import resized
from tests.explanations.nets import Linear, Tiny, images_of, subject_of


@pytest.mark.parametrize(("patch", "stride", "rows", "columns"), [
    (3, 2, [0, 2, 4, 6], [0, 2, 4, 5]),
    (1, 1, list(range(9)), list(range(8))),
    (8, 8, [0, 1], [0]),
])  # fmt: skip
def test_of_a_linear_model_it_is_the_mean_loss_of_the_squares_over_a_pixel(patch, stride, rows, columns):
    subject, images = subject_of(Linear()), images_of(2)
    weights = np.asarray(subject.variables["params"]["head"]["kernel"])[:, 2].reshape(9, 8, 2)
    for baseline, fill in (("black", 0.0), ("white", 1.0)):
        how = How("occlusion", of="cat", baseline=baseline, patch=patch, stride=stride)
        found = explained(subject, images, how)
        assert found.signed
        for image, map_ in zip(images / 255, found.maps, strict=True):
            worth = (weights * (image - fill)).sum(-1)
            sums, counts = np.zeros((9, 8)), np.zeros((9, 8))
            for row in rows:
                for column in columns:
                    part = np.s_[row : row + patch, column : column + patch]
                    sums[part] += worth[part].sum()
                    counts[part] += 1
            np.testing.assert_allclose(map_, sums / counts, rtol=1e-3, atol=1e-4)


def test_at_an_endpoint_cells_show_what_they_show_for_the_baseline():
    subject, images = subject_of(Tiny()), images_of(3)
    found = explained(subject, images, How("occlusion", endpoint="active", of="ant", patch=1, baseline="white"))
    active, white = (
        np.asarray(subject.model.apply(subject.variables, jnp.asarray(pixels, jnp.float32))[1]["active"])
        for pixels in (images / 255, np.ones((1, 9, 8, 2)))
    )
    weights = np.asarray(subject.variables["params"]["head"]["kernel"])[:, 0].reshape(active.shape[1:])
    np.testing.assert_allclose(found.maps, resized(((active - white) * weights).sum(-1), 9, 8), atol=1e-4)


def test_the_default_square_is_a_seventh_of_the_image_and_moves_by_half():
    subject, images = subject_of(Linear(), (28, 30, 1)), images_of(1, (28, 30, 1))
    default = explained(subject, images, How("occlusion"))
    said = explained(subject, images, How("occlusion", patch=4, stride=2))
    np.testing.assert_array_equal(default.maps, said.maps)
    assert (default.maps != explained(subject, images, How("occlusion", patch=4, stride=4)).maps).any()


@pytest.mark.parametrize(
    ("patch", "stride", "said"),
    [
        (9, None, "patch: larger than what it covers; expected at most 8, found 9"),
        (2, 3, "stride: squares leave gaps; expected at most the patch, 2, found 3"),
        (0, None, "patch: out of range; expected at least 1"),
        (None, 0, "stride: out of range; expected at least 1"),
    ],
)
def test_squares_that_do_not_fit_are_one_line(patch, stride, said):
    with pytest.raises(ConfigError, match=said):
        explained(subject_of(Linear()), images_of(1), How("occlusion", patch=patch, stride=stride))

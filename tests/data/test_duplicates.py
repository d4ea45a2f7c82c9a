"""Images that stand in a data set twice are found, copies by their pixels and near ones by correlation."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.stats import pearsonr

from flaxcnn.data import Dataset, Split, find_duplicates, from_arrays, load
from flaxcnn.data.inspection.duplicates import SAME_PICTURE, Pair

FASHION = Path("/usr/share/datasets/fashion-mnist")


def dataset(train, test, train_labels=None, test_labels=None):
    splits = [
        Split(np.asarray(images, np.uint8), np.asarray([0] * len(images) if labels is None else labels, np.int32))
        for images, labels in ((train, train_labels), (test, test_labels))
    ]
    return Dataset("drawn", *splits, tuple("abcdefghij"), {})


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(20, 200, (count, *shape))


def pairs(found):
    return [(pair.test, pair.train) for pair in found]


def test_copies_are_counted_within_and_between_the_splits():
    a, b, c, d, e = noise(5, 6, 5, 3)
    found = find_duplicates(
        dataset(
            train=[a, b, a, c, a, b],
            train_labels=[0, 1, 0, 2, 3, 1],
            test=[d, c, a, b, d, e, d],
            test_labels=[4, 2, 0, 5, 4, 4, 1],
        )
    )
    assert found.train == (3, 1)  # a at 2 and 4, b at 5; a at 4 has another label than at 0
    assert found.test == (2, 1)  # d at 4 and 6; at 6 with another label
    assert found.exact == (
        Pair(test=1, train=3, correlation=1.0, test_label=2, train_label=2),
        Pair(test=2, train=4, correlation=1.0, test_label=0, train_label=3),  # the copy with another label
        Pair(test=3, train=1, correlation=1.0, test_label=5, train_label=1),
    )
    assert found.near == ()


def test_any_targets_are_compared_and_a_lacking_one_is_the_same_as_a_lacking_one():
    a, b, c = noise(3, 6, 5, 3).astype(np.uint8)
    train = {"kind": ["ant", "ant", None, None], "mg": [1.0, np.nan, 2.0, 2.5]}
    test = {"kind": ["ant", "ant", None], "mg": [np.nan, np.nan, 2.0]}
    found = find_duplicates(from_arrays(np.stack([a, b, b, c]), train, test=(np.stack([b, a, c]), test)))
    assert found.train == (1, 1)
    rows = [{"kind": 0, "mg": None}, {"kind": None, "mg": 2.0}, {"kind": 0, "mg": 1.0}, {"kind": None, "mg": 2.5}]
    assert found.exact == (
        Pair(0, 2, 1.0, rows[0], rows[1]),  # the copy with another target than test's
        Pair(1, 0, 1.0, rows[0], rows[2]),
        Pair(2, 3, 1.0, rows[1], rows[3]),
    )
    labels = np.array([[0, 1], [1, 1], [0, 1], [1, 0]], bool)
    found = find_duplicates(from_arrays(np.stack([a, a, a, b]), labels, test=(c[None], labels[:1])))
    assert found.train == (2, 1)  # the second differs, the third is as the first
    numbers = np.array([[0, np.pi], [0, np.pi], [1, np.pi], [1, 0]])
    found = find_duplicates(from_arrays(np.stack([a, a, a, b]), numbers, test=((c // 2 + 60)[None], numbers[:1])))
    assert found.train == (2, 1)
    found = find_duplicates(from_arrays(np.stack([a, b]), numbers[2:], test=((b // 2 + 60)[None], numbers[:1])))
    assert [(pair.test_label, pair.train_label) for pair in found.near] == [([0.0, np.float32(np.pi)], [1.0, 0.0])]


def test_images_that_differ_by_one_level_of_one_pixel_are_not_copies():
    image = noise(1, 5, 5, 1)
    other = image.copy()
    other[0, 2, 2, 0] += 1
    found = find_duplicates(dataset(image, other))
    assert found.exact == ()
    assert pairs(found.near) == [(0, 0)]


def test_a_change_of_brightness_and_contrast_and_a_little_noise_are_near_and_the_unrelated_is_not():
    train = noise(40, 12, 12, 1)
    brighter, flatter = train[7] + 50, train[31] // 2
    noisy = train[19] + np.random.default_rng(1).integers(-4, 5, train[19].shape)
    unrelated = noise(3, 12, 12, 1, seed=2)
    found = find_duplicates(dataset(train, [*unrelated, noisy, flatter, brighter]))
    assert found.exact == ()
    # The brighter copy is the same but for its mean, halving rounds by half a level, the noise is of 2.6 levels.
    assert pairs(found.near) == [(5, 7), (4, 31), (3, 19)]
    for pair, changed in zip(found.near, (brighter, flatter, noisy), strict=True):
        assert pair.correlation == pytest.approx(pearsonr(changed.ravel(), train[pair.train].ravel())[0], abs=1e-5)


def test_a_mirrored_and_a_negative_copy_are_not_near():
    train = noise(5, 12, 12, 1)
    found = find_duplicates(dataset(train, [train[0][:, ::-1], 255 - train[1]]))
    assert (found.exact, found.near) == ((), ())


@pytest.mark.parametrize(("height", "width"), [(7, 9), (45, 71)])
def test_images_of_one_colour_are_near_nothing(height, width):
    # The mean over the channels, a third of 3 k + 1, is no binary fraction.
    flat = np.arange(0, 240, 6)[:, None, None, None] + np.broadcast_to([3, 4, 3], (40, height, width, 3))
    pictures = noise(3, height, width, 3)
    assert find_duplicates(dataset([*pictures, *flat[:20]], flat[20:])).near == ()
    found = find_duplicates(dataset(flat, [*flat[1:3], *pictures]))
    assert (pairs(found.exact), found.near) == ([(0, 1), (1, 2)], ())


def test_colours_are_compared_by_the_mean_of_their_channels():
    train = noise(30, 8, 8, 3)
    rotated = train[12][:, :, [1, 2, 0]]  # other colours, the same mean
    test = [noise(1, 8, 8, 3, seed=4)[0], rotated]
    found = find_duplicates(dataset(train, test))
    assert pairs(found.near) == [(1, 12)]
    assert found.near[0].correlation == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 50), (20, 100)])
def test_large_images_are_compared_by_the_means_of_at_most_32_strips_each_way(height, width):
    def pooled(image):
        rows, columns = min(height, 32), min(width, 32)
        means = np.zeros((rows, columns))
        for row in range(rows):
            for column in range(columns):
                cell = image[
                    row * height // rows : (row + 1) * height // rows,
                    column * width // columns : (column + 1) * width // columns,
                ]
                means[row, column] = np.mean(cell)
        return means.ravel()

    rng = np.random.default_rng(5)
    blocks = noise(20, height // 4 + 1, width // 4 + 1, 1)
    train = blocks.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    noisy = np.round(train[[3, 14]] + rng.normal(0, 3, (2, height, width, 1))).astype(np.uint8)
    found = {(pair.test, pair.train): pair.correlation for pair in find_duplicates(dataset(train, noisy)).near}
    expected = {(0, 3): pearsonr(pooled(noisy[0]), pooled(train[3]))[0]}
    expected[1, 14] = pearsonr(pooled(noisy[1]), pooled(train[14]))[0]
    assert found == pytest.approx(expected, abs=1e-5)
    # Without the means, the noise would take away more.
    assert all(pearsonr(noisy[a].ravel(), train[b].ravel())[0] < value - 2e-5 for (a, b), value in expected.items())


@pytest.mark.slow
def test_a_part_of_mnist_with_copies_saved_as_jpeg_agrees_with_a_search_one_by_one():
    mnist = load("mnist")
    train, test = mnist.train.images[:300], mnist.test.images[:40]
    saved = np.stack([jpeg(train[place, ..., 0], 60 if place % 2 else 95)[..., None] for place in range(20)])
    test = np.concatenate([test, saved])
    expected = {}
    for place, image in enumerate(test):
        correlations = [pearsonr(image.ravel(), other.ravel())[0] for other in train]
        if max(correlations) >= SAME_PICTURE:
            expected[place, int(np.argmax(correlations))] = max(correlations)
    assert set(expected) >= {(40 + copy, copy) for copy in range(0, 20, 2)}  # those of quality 95
    assert len(expected) < 20
    found = find_duplicates(dataset(train, test, mnist.train.targets[:300], [9] * 60)).near
    assert {(pair.test, pair.train): pair.correlation for pair in found} == pytest.approx(expected, abs=1e-5)
    assert np.all(np.diff([pair.correlation for pair in found]) <= 0)
    assert all(pair.train_label == mnist.train.targets[pair.train] for pair in found)


def jpeg(image, quality):
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(stream))


def test_every_training_image_is_searched_where_there_are_more_than_fit_a_block():
    # 9,000 tests leave blocks of 3,728 training images.
    train, test = noise(8000, 5, 5, 1), noise(9000, 5, 5, 1, seed=1)
    copied = [0, 3727, 3728, 5000, 7455, 7456, 7999]
    test[1000:1007] = train[copied] + 30
    found = find_duplicates(dataset(train, test))
    assert sorted(pairs(found.near)) == [(1000 + number, place) for number, place in enumerate(copied)]


def test_mnist_holds_no_image_twice():
    mnist = load("mnist")
    assert len({image.tobytes() for split in (mnist.train, mnist.test) for image in split.images}) == 70_000
    found = find_duplicates(
        Dataset("mnist", mnist.train, Split(mnist.test.images[:500], mnist.test.targets[:500]), mnist.target_names, {})
    )
    assert (found.train, found.test, found.exact, found.near) == ((0, 0), (0, 0), (), ())


@pytest.mark.skipif(not FASHION.exists(), reason="Fashion-MNIST is not on this machine")
def test_the_photographs_that_fashion_mnist_holds_twice_are_found():
    # Seen by eye: one photograph with other tones or a few other pixels; and trousers of another cut (7357, 18802).
    fashion = load(f"idx:{FASHION}")
    same = [(4998, 13360), (2605, 11932), (6210, 6300), (9867, 58762), (4926, 18494), (5732, 7061)]
    tests, trains = (list(column) for column in zip(*same, (7357, 18802), strict=True))
    trains += range(2000)
    found = find_duplicates(
        dataset(
            fashion.train.images[trains],
            fashion.test.images[tests],
            fashion.train.targets[trains],
            fashion.test.targets[tests],
        )
    )
    assert sorted(pairs(found.near)) == [(number, number) for number in range(len(same))]
    assert found.exact == ()

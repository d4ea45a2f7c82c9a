"""Images on disk answer to an index as an array of the same images does, from memory that does not grow with them."""

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaxcnn.data import Dataset, Split, array_digest, describe, draw_examples, find_duplicates, split_validation
from flaxcnn.data.images import Rows, channel_moments, choose, in_pieces
from flaxcnn.data.sources.idx import read_idx_images
from flaxcnn.errors import DataError
from tests.error_fields import fields

COUNT = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 2, 1), np.uint8)
ORDER = np.array([7, 7, 0, 11, 3])
many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
bounds = st.none() | st.integers(-COUNT - 2, COUNT + 2)
keys = st.one_of(
    st.integers(-COUNT - 2, COUNT + 1),
    st.builds(slice, bounds, bounds, st.none() | st.integers(-4, 4).filter(bool)),
    st.lists(st.integers(-COUNT - 1, COUNT), max_size=9).map(lambda key: np.array(key, np.int64)),
    st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=9).map(lambda key: np.array(key, np.uint8)),
    st.lists(st.booleans(), min_size=COUNT - 1, max_size=COUNT).map(np.array),
)


def idx(pixels):
    count, height, width, _ = pixels.shape
    return b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, height, width)) + pixels.tobytes()


def on_disk(folder, pixels, name="images"):
    (folder / name).write_bytes(idx(pixels))
    images, _ = read_idx_images(folder / name, in_memory=0)
    assert not isinstance(images, np.ndarray)
    return images


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return on_disk(tmp_path_factory.mktemp("idx"), PIXELS)


@many
@given(keys)
def test_an_index_gives_what_it_gives_of_an_array(stored, key):
    rows = np.resize(ORDER, COUNT)
    for images, array in ((stored, PIXELS), (Rows(stored, rows), PIXELS[rows])):
        try:
            expected = array[key]
        except IndexError:
            with pytest.raises(IndexError):
                images[key]
            continue
        np.testing.assert_array_equal(images[key], expected)
        assert (images[key].dtype, images[key].flags.writeable) == (np.uint8, True)


@pytest.mark.parametrize("key", [1.0, None, (0, 1), "1", [[0, 1]], np.zeros(2), np.zeros((COUNT, 2), bool)])
def test_what_is_no_index_along_the_first_axis_is_refused(stored, key):
    with pytest.raises(IndexError):
        stored[key]


def test_it_says_its_size_as_an_array_does(stored):
    for images, array in ((stored, PIXELS), (Rows(stored, ORDER), PIXELS[ORDER])):
        said = (images.shape, images.dtype, images.ndim, images.nbytes, len(images))
        assert said == (array.shape, array.dtype, array.ndim, array.nbytes, len(array))
        np.testing.assert_array_equal(np.asarray(images), array)
        np.testing.assert_array_equal(np.stack(list(images)), array)
        assert array_digest(images) == array_digest(array)


def test_rows_of_rows_are_rows_of_the_first(stored):
    np.testing.assert_array_equal(Rows(Rows(stored, ORDER), np.array([4, 0]))[:], PIXELS[[3, 7]])


def test_pickled_they_are_a_place_and_not_pixels(tmp_path):
    images = on_disk(tmp_path, np.zeros((5000, 10, 10, 1), np.uint8))
    assert len(pickle.dumps(images)) < 500
    assert len(pickle.dumps(Rows(images, np.arange(100)))) < 2000
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(Rows(images, np.arange(100))))[3:5], np.zeros((2, 10, 10, 1))
    )


def test_a_relative_path_is_still_right_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").write_bytes(idx(PIXELS))
    images, _ = read_idx_images("images", in_memory=0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(images[:], PIXELS)


def test_a_file_that_changes_is_an_error_that_says_so(tmp_path):
    images, path = on_disk(tmp_path, PIXELS), tmp_path / "images"
    unopened = copy.copy(images)
    assert images[0].shape == (3, 2, 1)
    os.truncate(path, 16 + 6 * 5)
    np.testing.assert_array_equal(images[:5], PIXELS[:5])
    with pytest.raises(DataError) as refused:
        images[5]
    assert fields(refused.value) == (str(path), "the same file until the end", "truncated")
    with pytest.raises(DataError) as refused:
        unopened[0]
    assert fields(refused.value) == (str(path), "the same file until the end", "another size or time of change")


def test_a_file_that_is_gone_is_an_error_that_says_so(tmp_path):
    images = on_disk(tmp_path, PIXELS)
    (tmp_path / "images").unlink()
    with pytest.raises(DataError) as refused:
        images[0]
    assert str(refused.value).startswith(f"{tmp_path}/images: cannot read the file; ")


def test_files_are_closed_with_their_images(tmp_path):
    def held():  # of this file alone: what earlier tests left open may be closed at any instant
        links = (Path("/proc/self/fd", descriptor) for descriptor in os.listdir("/proc/self/fd"))
        return sum(os.readlink(link) == str(tmp_path / "images") for link in links if link.is_symlink())

    images = on_disk(tmp_path, PIXELS)
    images[0]
    assert held() == 1
    del images
    assert held() == 0


@pytest.mark.parametrize("most", [None, 1, 7])
def test_pieces_are_all_images_in_order_and_small(tmp_path, most):
    array = np.random.default_rng(1).integers(0, 256, (50, 1000, 1000, 1), np.uint8)
    for images in (array, on_disk(tmp_path, array)):
        pieces = list(in_pieces(images, most))
        np.testing.assert_array_equal(np.concatenate(pieces), array)
        assert max(piece.nbytes for piece in pieces) <= 2**24
        assert max(map(len, pieces)) == (most or 16)


def test_an_image_larger_than_a_piece_is_a_piece(tmp_path):
    large = np.zeros((2, 5000, 5000, 1), np.uint8)
    assert [len(piece) for piece in in_pieces(large)] == [1, 1]


@pytest.fixture
def small_pieces(monkeypatch):
    """Cut passes over images of 40×12 into pieces of 20."""
    monkeypatch.setattr("flaxcnn.data.images._PIECE", 10_000)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """The same data set twice: in memory, and on disk. It has copies, and near copies, across its splits."""
    folder = tmp_path_factory.mktemp("twins")
    train = np.random.default_rng(2).integers(0, 250, (3000, 40, 12, 1), np.uint8)
    test = np.concatenate([train[5:400:50], train[1000:1005] + np.uint8(3), 255 - train[::300]])
    labels = [np.arange(len(images), dtype=np.int32) % 3 for images in (train, test)]
    return [
        Dataset("drawn", *map(Split, images, labels), ("a", "b", "c"), {})
        for images in ((train, test), (on_disk(folder, train, "train"), on_disk(folder, test, "test")))
    ]


def test_a_validation_split_of_images_on_disk_is_the_same_and_stays_there(twins, small_pieces):
    for loaded, stored in zip(*(split_validation(dataset.train, 0.2) for dataset in twins), strict=True):
        assert not isinstance(stored.images, np.ndarray)
        np.testing.assert_array_equal(stored.images[:], loaded.images)
        np.testing.assert_array_equal(stored.targets, loaded.targets)


@pytest.mark.slow
def test_what_is_said_and_drawn_of_images_on_disk_is_the_same(twins, small_pieces, tmp_path):
    train = twins[0].train.images
    assert f"values 0 to 249, mean {train.mean():.2f}; " in describe(twins[0])[1]
    assert describe(twins[1]) == describe(twins[0])
    assert array_digest(twins[1].train.images) == array_digest(train)
    for number, dataset in enumerate(twins):
        draw_examples(dataset, tmp_path / f"{number}.png")
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_duplicates_among_images_on_disk_are_the_same(twins, small_pieces):
    found, stored = map(find_duplicates, twins)
    assert (len(found.exact), len(found.near)) == (8, 5)
    assert stored == found


def test_chosen_images_of_an_array_are_a_copy(stored):
    chosen = choose(PIXELS, ORDER)
    np.testing.assert_array_equal(chosen, PIXELS[ORDER])
    assert not np.shares_memory(chosen, PIXELS)
    assert isinstance(choose(stored, ORDER), Rows)


@many
@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 4))
def test_the_moments_of_the_channels_are_numpys(seed, count, channels):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 4, 3, channels), np.uint8)
    mean, deviation = channel_moments(pixels)
    np.testing.assert_allclose(mean, (pixels / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, (pixels / 255).std((0, 1, 2)), rtol=1e-9)


def test_the_moments_of_images_on_disk_are_those_of_the_array_to_the_bit_in_pieces_of_any_size(stored, monkeypatch):
    expected = channel_moments(PIXELS)
    np.testing.assert_array_equal(channel_moments(stored), expected)
    monkeypatch.setattr("flaxcnn.data.images._PIECE", 6)  # one image of 3 by 2
    np.testing.assert_array_equal(channel_moments(stored), expected)


def test_a_channel_that_is_all_alike_is_divided_by_1():
    pixels = np.zeros((2, 2, 2, 2), np.uint8)
    pixels[..., 1] = 51
    mean, deviation = channel_moments(pixels)
    np.testing.assert_allclose(mean, [0, 0.2], rtol=1e-15)
    np.testing.assert_array_equal(deviation, [1, 1])

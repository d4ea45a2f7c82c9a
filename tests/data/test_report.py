"""What a data set holds, said in lines and shown in a picture."""

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import (
    Dataset,
    Duplicates,
    Split,
    describe,
    describe_absent,
    describe_duplicates,
    draw_examples,
    find_duplicates,
    from_arrays,
    load,
)
from flaxcnn.data.inspection.duplicates import Pair, Repeats
from flaxcnn.errors import DataError
from tests.error_fields import fields


def dataset(images, labels, names=("cat", "a long-haired dog", "owl")):
    images, labels = np.asarray(images, np.uint8), np.asarray(labels, np.int32)
    digests = {"train/images": "ab" * 32, "test/labels": "cd" * 32}
    return Dataset("drawn", Split(images, labels), Split(images[:1], labels[:1]), names, digests)


def test_the_lines_say_shapes_values_counts_and_digests():
    # 1,200 images of 2×3: 1,199 black ones and one of six 60s; mean 60 / 1200.
    images = np.zeros((1200, 2, 3, 1))
    images[7] = 60
    assert describe(dataset(images, [0] * 1199 + [2])) == [
        "source   drawn",
        "train    1,200 images 2×3×1 uint8, values 0 to 60, mean 0.05; labels int32",
        "test     1 images 2×3×1 uint8, values 0 to 0, mean 0.00; labels int32",
        "",
        "class              train  test",
        "cat                1,199     1",
        "a long-haired dog      0     0",
        "owl                    1     0",
        "all                1,200     1",
        "",
        "train/images  sha256 " + "ab" * 32,
        "test/labels   sha256 " + "cd" * 32,
    ]


def test_a_validation_split_has_its_line_and_its_column():
    images = np.zeros((3, 2, 3, 1), np.uint8)
    splits = [Split(images[:count], np.asarray(labels, np.int32)) for count, labels in ((3, [0, 1, 1]), (1, [0]))]
    made = Dataset("drawn", splits[0], splits[1], ("ant", "bee"), {}, validation=Split(images[:1], splits[1].targets))
    assert tables(made)[1:] == [
        "train      3 images 2×3×1 uint8, values 0 to 0, mean 0.00; labels int32",
        "test       1 images 2×3×1 uint8, values 0 to 0, mean 0.00; labels int32",
        "validation 1 images 2×3×1 uint8, values 0 to 0, mean 0.00; labels int32",
        "",
        "class  train  test  validation",
        "ant        1     1           1",
        "bee        2     0           0",
        "all        3     1           1",
    ]


def several(targets, target_names, train=3, groups=None):
    mask = np.arange(5) >= train
    return from_arrays(np.zeros((5, 2, 3), np.uint8), targets, test=mask, target_names=target_names, groups=groups)


def tables(dataset):
    """The lines before the digests."""
    return [line for line in describe(dataset) if " sha256 " not in line][:-1]


MARKS = np.array([[1, 0], [1, 0], [0, 0], [1, 0], [0, 0]], bool)
MIXED = {"species": [0, -1, 0, 1, 1], "mg": [1.5, 4.0, np.nan, np.nan, np.nan], "marks": MARKS}
MIXED_NAMES = {"species": ("ant", "bee"), "mg": ("weight",), "marks": ("spots", "wings")}


def test_each_array_of_a_dictionary_has_its_table_and_groups_are_counted():
    assert tables(several(MIXED, MIXED_NAMES, groups=["a", "b", "a", "d", "c"])) == [
        "source   arrays",
        "train    3 images 2×3×1 uint8, values 0 to 0, mean 0.00; targets marks bool 2, mg float32, species int32",
        "test     2 images 2×3×1 uint8, values 0 to 0, mean 0.00; targets marks bool 2, mg float32, species int32",
        "groups   2 in train, of 1 to 2 images; 2 in test, of 1 image",
        "",
        "marks  train  test",
        "spots      2     1",
        "wings      0     0",
        "all        3     2",
        "",
        "mg      split  least  mean  greatest  missing",
        "weight  train    1.5  2.75         4        1",
        "weight   test      –     –         –        2",
        "",
        "species  train  test",
        "ant          2     0",
        "bee          0     2",
        "missing      1     0",
        "all          3     2",
    ]


def test_numbers_have_a_row_a_column_and_a_split():
    numbers = np.array([[1, -1], [2, -2], [6, 1e6], [0.125, 3], [0.375, 5]])
    assert tables(several(numbers, ("width", "height")))[3:] == [
        "",
        "number  split  least    mean  greatest  missing",
        "width   train      1       3         6        0",
        "width    test  0.125    0.25     0.375        0",
        "height  train     -2  333332     1e+06        0",
        "height   test      3       4         5        0",
    ]


def test_labels_without_an_example_are_named_as_classes_are():
    dataset = several(MIXED, MIXED_NAMES)
    assert describe_absent({"training": dataset.train, "test": dataset.test}, dataset.target_names) == (
        "marks: no training image of 1 of 2 labels (wings), no test image of 1 (wings); "
        "species: no training image of 1 of 2 classes (bee), no test image of 1 (ant)"
    )
    dataset = several(MARKS, ("spots", "wings"))
    assert describe_absent({"test": dataset.test}, dataset.target_names) == "no test image of 1 of 2 labels (wings)"
    dataset = several(np.zeros(5), ("weight",))
    assert describe_absent({"test": dataset.test}, dataset.target_names) is None


@pytest.mark.parametrize(
    ("targets", "names"),
    [(MIXED, MIXED_NAMES), (MARKS, ("a", "b")), (np.zeros((5, 2)), ("a", "b")), (np.zeros(5), ("a",))],
)
def test_examples_with_any_targets_are_drawn(tmp_path, targets, names):
    draw_examples(several(targets, names), tmp_path / "examples.png")
    assert pixels(tmp_path / "examples.png").size


@pytest.mark.parametrize(
    ("targets", "names", "shown"),
    [
        (np.array([[1, -2], [3, 4]], np.int32), ("a", "b"), "1 -2"),
        (np.array([True, False]), ("ripe",), "ripe"),
        (np.zeros((2, 3, 4), np.float32), (), "… … …"),
        (
            {"box": np.zeros((2, 3, 4), np.float32), "n": np.zeros((2, 0), bool)},
            {"box": (), "n": ()},
            "box … … …, n none",
        ),
    ],
)
def test_targets_that_only_a_task_of_a_users_own_knows_are_reported_too(tmp_path, targets, names, shown):
    # A picture and its copy of other tones.
    images = np.stack([np.arange(100, 112), np.arange(140, 152)]).astype(np.uint8).reshape(2, 3, 4, 1)
    dataset = Dataset("drawn", Split(images, targets), Split(images + 1, targets), names)
    assert describe(dataset)[0] == "source   drawn"
    assert describe_absent({"training": dataset.train}, names) is None
    draw_examples(dataset, tmp_path / "examples.png")
    assert f"test 0 ({shown})" in describe_duplicates(find_duplicates(dataset), names)[-2]


def test_the_targets_of_near_duplicates_are_said_whatever_they_are():
    rows = (
        ({"species": 1, "mg": 2.5, "marks": [True, True]}, {"species": None, "mg": None, "marks": [False, False]}),
        MIXED_NAMES,
        "0.99900  test 4 (species bee, mg 2.5, marks spots wings), train 7 (species –, mg –, marks none)",
    )
    numbers = (([1.0, 2.25], [None, 1e-7]), ("a", "b"), "0.99900  test 4 (1 2.25), train 7 (– 1e-07)")
    for (test, train), names, line in (rows, numbers):
        near = (Pair(4, 7, 0.999, test, train),)
        assert describe_duplicates(Duplicates(Repeats(0, 0), Repeats(0, 0), (), near), names)[-1] == line


def pixels(path):
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def share(picture, colour):
    return float(np.mean(np.all(picture == colour, axis=-1)))


def test_the_picture_shows_colours_as_they_are(tmp_path):
    images = np.zeros((2, 8, 8, 3))
    images[0, ..., 0] = 255
    images[1] = (10, 200, 30)
    draw_examples(dataset(images, [0, 1]), tmp_path / "examples.png")
    picture = pixels(tmp_path / "examples.png")
    assert share(picture, (255, 0, 0)) > 0.03
    assert share(picture, (10, 200, 30)) > 0.03


def test_gray_levels_are_not_stretched(tmp_path):
    # One image of 100s and one of 110s: stretched to the range of each image or of all, they would be black or white.
    images = np.full((2, 8, 8, 1), 100)
    images[1] = 110
    draw_examples(dataset(images, [0, 1]), tmp_path / "examples.png")
    picture = pixels(tmp_path / "examples.png")
    assert share(picture, (100, 100, 100)) > 0.03
    assert share(picture, (110, 110, 110)) > 0.03


def test_examples_of_a_sorted_data_set_are_of_all_its_classes(tmp_path):
    # 120 images sorted by class, each class a colour of its own: all three are seen, about a third of the grid each.
    colours = [(255, 0, 0), (0, 0, 255), (0, 128, 0)]
    images = np.repeat(np.array(colours), 40, axis=0)[:, None, None, :] * np.ones((1, 4, 4, 1))
    draw_examples(dataset(images, np.repeat([0, 1, 2], 40)), tmp_path / "examples.png")
    shares = [share(pixels(tmp_path / "examples.png"), colour) for colour in colours]
    assert min(shares) > 0.15
    assert max(shares) < 1.15 * min(shares)


@pytest.mark.slow
def test_the_same_data_set_gives_the_same_file(tmp_path):
    mnist = load("mnist")
    for name in ("one.png", "two.png"):
        draw_examples(mnist, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    height, width, _ = pixels(tmp_path / "one.png").shape
    assert height > 600
    assert width > 1000


def test_a_picture_that_cannot_be_written_is_an_error_with_its_path(tmp_path):
    path = tmp_path / "no" / "examples.png"
    with pytest.raises(DataError) as refused:
        draw_examples(dataset(np.zeros((1, 4, 4, 1)), [0]), path)
    assert fields(refused.value) == (str(path), None, "no such file or directory")


def test_the_lines_about_duplicates_count_copies_and_show_the_nearest_pairs():
    names = ("cat", "dog", "owl")
    exact = (Pair(4, 1, 1.0, 0, 0), Pair(6, 1, 1.0, 2, 0))
    correlations = (0.999996, 0.99912, 0.999, 0.998, 0.9975, 0.997)
    near = tuple(Pair(place, 1000 + place, value, 1, 2) for place, value in enumerate(correlations))
    found = Duplicates(Repeats(1234, 56), Repeats(3, 0), exact, near)
    assert describe_duplicates(found, names) == [
        "duplicates            images  relabelled",
        "copies in train        1,234          56",
        "copies in test             3           0",
        "test in train              2           1",
        "test nearly in train       6           6",
        "",
        "nearest pairs, of correlation 0.997 or more",
        "0.99999  test 0 (dog), train 1000 (owl)",  # less than 1 reads so
        "0.99912  test 1 (dog), train 1001 (owl)",
        "0.99900  test 2 (dog), train 1002 (owl)",
        "0.99800  test 3 (dog), train 1003 (owl)",
        "0.99750  test 4 (dog), train 1004 (owl)",
    ]


def test_without_near_duplicates_there_is_a_table_and_nothing_else():
    assert describe_duplicates(Duplicates(Repeats(0, 0), Repeats(0, 0), (), ()), ("a", "b")) == [
        "duplicates            images  relabelled",
        "copies in train            0           0",
        "copies in test             0           0",
        "test in train              0           0",
        "test nearly in train       0           0",
    ]

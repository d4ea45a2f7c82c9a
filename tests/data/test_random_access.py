"""A data set from any source that has a length and gives an example for a position."""

import collections
import os
import subprocess
import sys
import textwrap

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Loader, from_arrays, from_source, split_validation
from flaxcnn.data.images import StoredImages
from flaxcnn.errors import DataError
from tests.data.prepared_sets import NAMES, Drawn, as_examples, drawings, features, prepare
from tests.data.random_access_sources import ComesApart, Counting, Pairs, Rows, Unpicklable

COUNT = 30
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 5, 3), np.uint8)
LABELS = np.arange(COUNT) % 3
TEST = Rows(image=IMAGES[:4], label=LABELS[:4])


def from_rows(test=TEST, in_memory=0, **columns):
    return from_source(Rows(**columns), test, in_memory=in_memory)


def refused(train, *args, **options):
    with pytest.raises(DataError) as refusal:
        from_source(train, TEST, *args, **options)
    return refusal.value


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
@pytest.mark.parametrize("form", [Rows, Pairs])
def test_a_source_gives_the_data_set_of_its_arrays(form, in_memory):
    train, test = (
        Pairs(images, labels) if form is Pairs else Rows(image=images, label=labels)
        for images, labels in ((IMAGES[4:], LABELS[4:]), (IMAGES[:4], LABELS[:4]))
    )
    dataset = from_source(train, test, in_memory=in_memory)
    expected = from_arrays(IMAGES[4:], LABELS[4:], test=(IMAGES[:4], LABELS[:4]))
    assert isinstance(dataset.train.images, StoredImages) == (in_memory == 0)
    for split in ("train", "test"):
        ours, theirs = getattr(dataset, split), getattr(expected, split)
        np.testing.assert_array_equal(np.asarray(ours.images), theirs.images)
        assert (ours.targets.dtype, ours.targets.tolist()) == (np.int32, theirs.targets.tolist())
    assert dataset.digests == expected.digests
    assert dataset.target_names == ("0", "1", "2")


def test_only_images_beyond_memory_stay_where_they_are():
    assert isinstance(from_rows(image=IMAGES, label=LABELS, in_memory=IMAGES.nbytes - 1).train.images, StoredImages)
    assert isinstance(from_rows(image=IMAGES, label=LABELS, in_memory=IMAGES.nbytes).train.images, np.ndarray)


def test_a_prepared_set_of_tensorflow_datasets_is_a_source(tmp_path):
    images = drawings(9, (5, 4, 1), 0)
    prepare(tmp_path, {"train": as_examples(images), "test": as_examples(images[:3])}, features())
    source = Drawn(examples={}, features=features(), data_dir=tmp_path, file_format="array_record").as_data_source()
    dataset = from_source(source["train"], source["test"], in_memory=0)
    assert dataset.target_names == NAMES
    assert dataset.train.images.in_workers
    label_of = {image.tobytes(): place % 3 for place, image in enumerate(images)}  # stored in an order of TFDS's own
    found = [label_of[image.tobytes()] for image in np.asarray(dataset.train.images)]
    assert found == dataset.train.targets.tolist()
    assert sorted(np.bincount(found).tolist()) == [3, 3, 3]


def test_names_that_a_source_declares_are_those_of_its_classes():
    pairs = Pairs(IMAGES, LABELS)
    pairs.classes = ["ant", "bee", "cat", "dog"]  # as torchvision's sets
    assert from_source(pairs, TEST).target_names == ("ant", "bee", "cat", "dog")
    rows = Rows(image=IMAGES, fine=LABELS, size=LABELS * 1.0)
    feature = collections.namedtuple("feature", "names")
    rows.features = {"image": object(), "fine": feature(["ant", "bee", "cat"]), "size": object()}  # as Hugging Face's
    assert from_source(rows, rows, target="fine").target_names == ("ant", "bee", "cat")
    assert from_source(rows, rows, target="size").target_names == ("target",)
    assert from_source(rows, rows, target={"kind": "fine", "mg": "size"}).target_names == {
        "kind": ("ant", "bee", "cat"),
        "mg": ("mg",),
    }


def test_several_targets_groups_and_names_are_found_by_their_keys():
    columns = {
        "picture": IMAGES,
        "kind": ["ant", None, "bee"] * 10,
        "mg": [np.float32(0.5), 2.0, None] * 10,
        "box": [np.ones(2), None, np.zeros(2)] * 10,
        "person": [b"ann", "bob", "eve"] * 10,
        "file": [f"{place}.png".encode() for place in range(COUNT)],
    }
    train = Rows(**{name: column[:24] for name, column in columns.items()})
    test = Rows(**{name: column[24:] for name, column in columns.items()} | {"person": ["zoe"] * 6})
    targets = {"species": "kind", "weight": "mg", "size": "box"}
    dataset = from_source(train, test, image="picture", target=targets, group="person", name="file")
    assert dataset.target_names == {"species": ("ant", "bee"), "weight": ("weight",), "size": ("0", "1")}
    assert dataset.train.targets["species"].tolist() == [0, -1, 1] * 8
    np.testing.assert_array_equal(dataset.train.targets["weight"], np.float32([0.5, 2, np.nan] * 8))
    np.testing.assert_array_equal(dataset.train.targets["size"], np.float32([[1, 1], [np.nan, np.nan], [0, 0]] * 8))
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([0, 1, 2] * 8, [3] * 6)
    assert dataset.test.names == tuple(f"{place}.png" for place in range(24, 30))


def test_a_dictionary_in_place_of_a_label_is_a_dictionary_of_targets():
    labels = [{"species": place % 2, "weight": place / 4} for place in range(COUNT)]
    dataset = from_source(Pairs(IMAGES, labels), Pairs(IMAGES, labels))
    assert dataset.train.targets["species"].tolist() == [0, 1] * 15
    np.testing.assert_array_equal(dataset.train.targets["weight"], np.arange(COUNT, dtype=np.float32) / 4)


def test_places_in_a_tuple_may_be_named():
    class Triples(Rows):
        def __getitem__(self, position):
            return "unused", LABELS[position], IMAGES[position]

    source = Triples(image=IMAGES)
    dataset = from_source(source, source, image=2, target=1)
    np.testing.assert_array_equal(dataset.train.images, IMAGES)
    assert dataset.train.targets.tolist() == LABELS.tolist()


def test_a_fraction_is_drawn_as_from_arrays():
    dataset = from_source(Rows(image=IMAGES, label=LABELS), test_fraction=0.4, in_memory=0)
    assert dataset.digests == from_arrays(IMAGES, LABELS, test_fraction=0.4).digests
    assert isinstance(dataset.test.images, StoredImages)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_a_picture_of_any_mode_of_8_bits_is_gray_or_rgb(mode):
    pictures = [PIL.Image.fromarray(image).convert(mode) for image in IMAGES[:2]]
    dataset = from_rows(image=pictures, label=[0, 0], test=Rows(image=pictures, label=[0, 0]))
    gray = mode in ("1", "L", "LA")
    expected = [np.asarray(picture.convert("L" if gray else "RGB")).reshape(6, 5, -1) for picture in pictures]
    np.testing.assert_array_equal(np.asarray(dataset.train.images), expected)


def load(images, workers, first_step=0):
    span = {"first_step": first_step, "total_steps": 9, "chunk_steps": 2, "workers": workers}
    with Loader(images, LABELS.astype(np.int32), seed=3, batch_size=7, **span) as loader:
        chunks = [loader.next() for _ in range(first_step, 9, 2)]
    return np.concatenate([chunk.images[: chunk.steps] for chunk in chunks])


def test_workers_and_any_first_step_give_the_batches_of_arrays(tmp_path):
    source = Counting(tmp_path / "asked", image=IMAGES, label=LABELS)
    images = from_source(source, TEST, in_memory=0).train.images
    assert {int(line.split()[0]) for line in source.file.read_text().splitlines()} == {os.getpid()}
    source.file.write_text("")
    expected = load(IMAGES, 0)
    np.testing.assert_array_equal(load(images, 2), expected)
    readers = {int(line.split()[0]) for line in source.file.read_text().splitlines()}
    assert len(readers) == 2
    assert os.getpid() not in readers
    np.testing.assert_array_equal(load(images, 1, first_step=5), expected[5:])


def test_what_cannot_be_pickled_is_read_in_this_process_and_a_warning_says_so(tmp_path):
    source = Unpicklable(tmp_path / "asked", image=IMAGES, label=LABELS)
    with pytest.warns(UserWarning, match="holds an open connection"):
        train = from_source(source, TEST, in_memory=0).train
    source.file.write_text("")
    np.testing.assert_array_equal(load(train.images, 2), load(IMAGES, 0))
    stays, _ = split_validation(train, 0.3)
    assert not stays.images.in_workers
    assert {int(line.split()[0]) for line in source.file.read_text().splitlines()} == {os.getpid()}


def test_a_class_of_the_program_itself_is_read_in_its_process(command_environment):
    program = """
        import numpy as np
        from flaxcnn.data import Loader, from_source

        class Mine:
            def __len__(self):
                return 8
            def __getitem__(self, position):
                return np.full((4, 4), position, np.uint8), 0

        dataset = from_source(Mine(), Mine(), in_memory=0)
        span = dict(first_step=0, total_steps=1, chunk_steps=1)
        with Loader(dataset.train.images, dataset.train.targets, seed=0, batch_size=8, workers=2, **span) as loader:
            print(sorted(loader.next().images[0, :, 0, 0, 0].tolist()))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=command_environment, capture_output=True, text=True)
    assert done.stdout == "[0, 1, 2, 3, 4, 5, 6, 7]\n", done.stderr
    assert "Mine is defined in the program itself" in done.stderr


def test_a_source_that_a_worker_cannot_make_again_is_one_error():
    images = from_source(ComesApart(image=IMAGES, label=LABELS), TEST, in_memory=0).train.images
    with pytest.raises(DataError) as refusal:
        load(images, 1)
    assert (refusal.value.where, refusal.value.found) == ("data.workers", "FileNotFoundError: no such database")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_changes_after_it_was_first_read_is_refused(workers):
    changing = IMAGES.copy()
    train = from_rows(image=changing, label=LABELS).train
    changing[17, 2, 2, 1] ^= 1
    with pytest.raises(DataError) as refusal:
        load(train.images, workers)
    assert refusal.value.where == "source train example 17"


def test_images_of_different_sizes_are_refused():
    error = refused(Rows(image=[*IMAGES[:3], IMAGES[3, 1:]], label=LABELS[:4]))
    assert (error.where, error.expected, error.found) == (
        "source train example 3",
        "6×5×3 as in example 0",
        "5×5×3",
    )


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGES[0] / np.float32(255), "float32 (6, 5, 3)"),  # as torchvision's ToTensor leaves it
        (IMAGES[0].astype(np.int64), "int64 (6, 5, 3)"),
        (IMAGES[0].ravel(), "uint8 (90,)"),
        (np.zeros((3, 8, 8), np.uint8), "uint8 (3, 8, 8)"),
        ("1.png", "str"),
        (None, "NoneType"),
        (PIL.Image.new("I;16", (5, 6)), "I;16"),
    ],
)
def test_an_image_of_another_kind_is_refused(image, found):
    error = refused(Rows(image=[IMAGES[0], image], label=[0, 0]))
    assert (error.where, error.found) == ("source train example 1", found)


@pytest.mark.parametrize(
    ("keys", "expected", "found"),
    [
        ({"image": "img"}, "'img'", "'image', 'label'"),
        ({"target": "fine_label"}, "'fine_label'", "'image', 'label'"),
        ({"target": {"a": "label", "b": "other"}}, "'other'", "'image', 'label'"),
        ({"group": "person"}, "'person'", "'image', 'label'"),
        ({"name": "file"}, "'file'", "'image', 'label'"),
    ],
)
def test_a_key_that_an_example_lacks_is_named_with_those_it_has(keys, expected, found):
    error = refused(Rows(image=IMAGES, label=LABELS), **keys)
    assert (error.where, error.expected, error.found) == ("source train example 0", expected, found)


@pytest.mark.parametrize("key", [2, -3, "fine_label"])
def test_a_place_that_a_tuple_lacks_is_refused(key):
    error = refused(Pairs(IMAGES, LABELS), target=key)
    assert (error.where, error.found) == ("source train example 0", "a tuple of 2")


def test_an_example_is_a_dictionary_or_a_tuple():
    assert refused(IMAGES).found == "ndarray"


@pytest.mark.parametrize("source", [iter([]), 3, {1, 2}], ids=["iterator", "number", "set"])
def test_what_has_no_length_or_no_positions_is_refused(source):
    error = refused(source)
    assert (error.where, error.found) == ("source train", type(source).__name__)


def test_an_empty_source_is_refused():
    assert refused(Rows(image=[], label=[])).where == "source train"


def test_targets_of_an_example_that_do_not_fit_are_refused_as_of_arrays():
    error = refused(Rows(image=IMAGES, label=[-1] * COUNT))
    assert (error.where, error.found) == ("source train targets", "-1 at position 0 (30 such labels)")

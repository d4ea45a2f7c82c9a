"""A source's name gives its data set, whole and checked, or an error that names what is wrong and where."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flaxcnn
from flaxcnn.config.experiment import DIVIDED_SOURCES, PATH_SOURCES
from flaxcnn.data import Dataset, Options, Split, load, load_idx_folder
from flaxcnn.data.sources.by_name import KINDS, SOURCES
from flaxcnn.data.sources.mnist import MNIST_SHA256, load_ahead
from flaxcnn.errors import ConfigError, DataError
from tests.error_fields import fields

FASHION = Path("/usr/share/datasets/fashion-mnist")
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


def idx(array):
    array = np.asarray(array, np.uint8)
    return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Three training and two test images of two classes."""
    contents = (PIXELS[:3], [1, 0, 1], PIXELS[3:], [0, 1])
    for name, content in zip(NAMES, contents, strict=True):
        (tmp_path / name).write_bytes(idx(content))
    return tmp_path


def refusal(source, kind=DataError):
    with pytest.raises(kind) as refused:
        load(source)
    return str(refused.value)


def holds_the_small_data_set(dataset):
    np.testing.assert_array_equal(dataset.train.images[..., 0], PIXELS[:3])
    np.testing.assert_array_equal(dataset.test.images[..., 0], PIXELS[3:])
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([1, 0, 1], [0, 1])
    assert (dataset.image_shape, dataset.target_names) == ((4, 3, 1), ("0", "1"))


def in_memory(split):
    return Split(np.asarray(split.images), split.targets)


def test_mnist_is_the_one_that_everybody_knows():
    mnist = load("mnist")
    assert (mnist.source, mnist.image_shape, mnist.target_names) == ("mnist", (28, 28, 1), tuple("0123456789"))
    # The counts that textbooks print, the first labels, and the mean and standard deviation of countless tutorials.
    train, test = (np.bincount(split.targets).tolist() for split in (mnist.train, mnist.test))
    assert train == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert round(float(np.mean(mnist.train.images) / 255), 4) == 0.1307
    assert round(float(np.std(mnist.train.images) / 255), 4) == 0.3081
    assert (mnist.train.images.dtype, mnist.train.targets.dtype) == (np.uint8, np.int32)


def test_nobody_can_change_the_embedded_images():
    mnist = load("mnist")
    for array in (mnist.train.images, mnist.train.targets, mnist.test.images, mnist.test.targets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            mnist.train.images.setflags(write=True)


def test_an_altered_mnist_is_refused(tmp_path):
    package = tmp_path / "flaxcnn"
    shutil.copytree(Path(flaxcnn.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    labels = package / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[-1] = 7  # the last test image is a 6
    labels.write_bytes(gzip.compress(content))
    code = "import flaxcnn.data; flaxcnn.data.load('mnist')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    line = run.stderr.splitlines()[-1]
    assert f"{labels}: not the MNIST of the original distribution; expected SHA-256 ff7bcfd4" in line
    assert line.endswith("Install flaxcnn again")


def test_what_is_loaded_ahead_is_what_load_returns_once():
    load_ahead("mnist")
    first, second = load("mnist"), load("mnist")
    assert first.digests == second.digests == dict(MNIST_SHA256)
    assert first is not second


def test_an_error_of_loading_ahead_is_raised_by_load(monkeypatch):
    monkeypatch.setattr("flaxcnn.data.sources.mnist.MNIST_SHA256", {"t10k-labels-idx1-ubyte": "00"})
    load_ahead("mnist")
    assert "not the MNIST of the original distribution" in refusal("mnist")
    monkeypatch.undo()
    assert load("mnist").digests == dict(MNIST_SHA256)


def test_the_first_examples_share_memory_with_all_or_stay_on_disk(folder):
    loaded, stored = load(f"idx:{folder}").train, load(f"idx:{folder}", in_memory=0).train
    assert np.shares_memory(loaded.first(2).images, loaded.images)
    assert not isinstance(stored.first(2).images, np.ndarray)
    for split in (loaded.first(2), stored.first(2)):
        np.testing.assert_array_equal(np.asarray(split.images)[..., 0], PIXELS[:2])
        assert split.targets.tolist() == [1, 0]


def test_naming_the_data_package_imports_nothing_heavy(command_environment):
    words = [sys.executable, "-c", "import sys, flaxcnn.data; print(*sys.modules)"]
    found = subprocess.run(words, env=command_environment, capture_output=True, text=True, check=True)
    assert not {"jax", "matplotlib", "tensorflow_datasets", "PIL"} & set(found.stdout.split())


def test_a_folder_of_raw_files_is_read(folder):
    dataset = load(f"idx:{folder}")
    holds_the_small_data_set(dataset)
    assert dataset.source == f"idx:{folder}"
    assert tuple(dataset.digests) == NAMES


def test_a_folder_of_gzipped_files_is_read_with_the_digests_of_the_raw_ones(folder):
    raw = load(f"idx:{folder}")
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed = load_idx_folder(folder)
    holds_the_small_data_set(packed)
    assert packed.digests == raw.digests


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_spelled_with_a_dot_are_read(folder, ending):
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        path = folder / (name.replace("-idx", ".idx") + ending)
        path.write_bytes(gzip.compress(content) if ending else content)
    holds_the_small_data_set(load(f"idx:{folder}"))


def test_images_that_take_more_memory_than_allowed_stay_on_disk_and_are_the_same(folder):
    loaded, stored = load(f"idx:{folder}"), load(f"idx:{folder}", in_memory=16 + 2 * 12)  # as large as the test file
    assert not isinstance(stored.train.images, np.ndarray)
    assert isinstance(stored.test.images, np.ndarray)
    holds_the_small_data_set(Dataset(stored.source, in_memory(stored.train), stored.test, stored.target_names, {}))
    assert stored.digests == loaded.digests


def test_checks_of_images_on_disk_name_the_files(folder):
    (folder / NAMES[2]).write_bytes(idx(PIXELS[3:].reshape(2, 3, 4)))
    with pytest.raises(DataError) as refused:
        load(f"idx:{folder}", in_memory=0)
    assert fields(refused.value) == (str(folder / NAMES[2]), f"4×3×1 as in {folder / NAMES[0]}", "3×4×1")


def test_of_a_raw_and_a_gzipped_file_the_raw_one_is_read(folder):
    (folder / f"{NAMES[1]}.gz").write_bytes(gzip.compress(idx([0, 0, 0])))
    holds_the_small_data_set(load(f"idx:{folder}"))


def test_a_tilde_is_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    holds_the_small_data_set(load(f"idx:~/{folder.name}"))


def test_every_missing_file_is_named(folder):
    (folder / NAMES[1]).unlink()
    (folder / NAMES[2]).unlink()
    assert refusal(f"idx:{folder}") == (
        f"{folder}: 2 of 4 IDX files missing; expected train-labels-idx1-ubyte, t10k-images-idx3-ubyte "
        "(raw or .gz, '.idx' for '-idx' accepted), found t10k-labels-idx1-ubyte, train-images-idx3-ubyte"
    )


def test_a_folder_that_is_not_there_or_no_folder_is_refused(folder):
    assert refusal(f"idx:{folder}/no") == (
        f"{folder}/no: cannot read the folder; expected a folder with four IDX files, found no such file or directory"
    )
    assert refusal(f"idx:{folder / NAMES[0]}").endswith("found not a directory")


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).mkdir()
    assert refusal(f"idx:{folder}").startswith(f"{folder / NAMES[0]}: not a regular file; ")


def test_a_test_label_that_training_never_saw_is_refused(folder):
    (folder / NAMES[3]).write_bytes(idx([0, 2]))
    assert refusal(f"idx:{folder}") == (
        f"{folder / NAMES[3]}: labels out of range; expected 0 to 1, found 2 at position 1 (1 such labels)"
    )


def test_counts_that_differ_name_both_files(folder):
    (folder / NAMES[1]).write_bytes(idx([0, 1]))
    assert refusal(f"idx:{folder}") == (
        f"{folder / NAMES[1]}: image and target counts differ; "
        f"expected 3 targets, as {folder / NAMES[0]} has images, found 2"
    )


def test_train_and_test_images_of_different_sizes_name_both_files(folder):
    (folder / NAMES[2]).write_bytes(idx(PIXELS[3:].reshape(2, 3, 4)))
    assert refusal(f"idx:{folder}") == (
        f"{folder / NAMES[2]}: train and test images of different shapes; "
        f"expected 4×3×1 as in {folder / NAMES[0]}, found 3×4×1"
    )


def test_images_in_place_of_labels_are_refused(folder):
    shutil.copy(folder / NAMES[0], folder / NAMES[1])
    assert refusal(f"idx:{folder}").startswith(f"{folder / NAMES[1]}: an IDX file of another rank; expected 00000801")


FORMS = "mnist, folder:DIR, another of docs/data.md, or FILE.py:NAME"
KNOWN = f"Known: {', '.join(sorted(SOURCES))}"


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("mnits", "Did you mean 'mnist'?"),
        ("tdfs:cifar10", "Did you mean 'tfds:cifar10'?"),
        ("IDX:/data", "Did you mean 'idx:/data'?"),
        ("https://example.org/photos", "Nothing is downloaded; name a folder on this machine"),
        ("photographs", KNOWN),
        ("", KNOWN),
    ],
)
def test_an_unknown_source_is_told_the_nearest(source, fix):
    assert refusal(source, ConfigError) == (f"data.source: unknown source; expected {FORMS}, found '{source}'. {fix}")


@pytest.mark.parametrize("source", ["/photos/of/fruit", "./photos", "~/photos/fruit"])
def test_a_folder_that_is_not_there_is_called_that_and_not_a_data_set_in_mnists_format(source, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert refusal(source, ConfigError) == (
        f"data.source: no such file or folder; expected {FORMS}, found '{source}'. Check its path"
    )


def test_a_folder_named_without_its_form_is_told_the_form_of_what_is_in_it(folder, monkeypatch):
    assert refusal(str(folder), ConfigError).endswith(f"Did you mean 'idx:{folder}'?")
    monkeypatch.chdir(folder.parent)
    assert refusal(folder.name, ConfigError).endswith(f"Did you mean 'idx:{folder.name}'?")
    assert refusal(str(folder / NAMES[0]), ConfigError).startswith("data.source: a file, where a folder is read; ")
    prepared = folder / "prepared" / "drawn" / "1.0.0"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("{}")
    for place in (prepared, prepared.parent, prepared.parent.parent):
        assert refusal(str(place), ConfigError).endswith(
            "A set that TensorFlow Datasets has prepared is tfds:NAME, its folder given by --data.dir"
        )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("~\0/x", "a path cannot hold a null byte"),
        ("/data\ud800", "a path cannot hold half a character"),
        ("~nosuchuser/photos", "no home folder is known for this user"),
    ],
)
def test_what_no_folder_can_be_called_is_refused(name, line):
    for source in (f"idx:{name}", name):
        assert refusal(source, ConfigError).startswith(f"data.source: {line}; found ")
    with pytest.raises(ConfigError, match=rf"data\.dir: {line}"):
        load("tfds:drawn", Options(dir=name))


def test_a_folder_of_image_files_is_not_taken_for_one_in_mnists_format(tmp_path):
    (tmp_path / "apple").mkdir()
    (tmp_path / "apple" / "1.jpg").write_bytes(b"")
    assert refusal(str(tmp_path), ConfigError).endswith(f"Did you mean 'folder:{tmp_path}'?")


@pytest.mark.parametrize(
    ("source", "line"), [("idx:", "no name"), ("folder", "no name"), ("mnist:x", "a name too many")]
)
def test_a_kind_without_its_name_is_told_its_form(source, line):
    form = KINDS[source.partition(":")[0]].form
    assert refusal(source, ConfigError) == (f"data.source: {line}; expected {FORMS}, found '{source}'. Write {form}")


def test_the_config_knows_which_sources_are_named_by_a_path():
    named = {kind for kind, known in KINDS.items() if ":" in known.form} - {"tfds"}
    assert named <= set(PATH_SOURCES)
    assert set(DIVIDED_SOURCES) < set(PATH_SOURCES)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_read_from_its_debian_package():
    fashion = load(f"idx:{FASHION}")
    assert np.bincount(fashion.train.targets).tolist() == [6000] * 10
    assert np.bincount(fashion.test.targets).tolist() == [1000] * 10
    assert round(float(np.mean(fashion.train.images) / 255), 4) == 0.2860
    assert round(float(np.std(fashion.train.images) / 255), 4) == 0.3530
    assert fashion.train.targets[:5].tolist() == [9, 0, 0, 3, 0]

"""Real data sets, prepared by TensorFlow Datasets itself without TensorFlow, are read as they were written."""

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from flaxcnn.data import Loader, Options, array_digest, epoch_order, load
from flaxcnn.errors import ConfigError, DataError
from tests.data.prepared_sets import NAMES, Configured, as_examples, drawings, encoded, features, prepare
from tests.error_fields import fields


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """Fifty gray training and seven test images of 6×5, and what was written."""
    folder = tmp_path_factory.mktemp("tfds")
    written = {"train": drawings(50, (6, 5, 1), 0), "test": drawings(7, (6, 5, 1), 1)}
    prepare(folder, {split: as_examples(images) for split, images in written.items()}, features())
    return folder, written


@pytest.fixture
def damaged(gray, tmp_path):
    """A copy of the gray data set to damage: its folder of data sets and its version's folder."""
    shutil.copytree(gray[0], tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "copy" / "drawn" / "1.0.0"


def refusal(name, folder, kind=DataError):
    with pytest.raises(kind) as refused:
        load(f"tfds:{name}", Options(dir=folder))
    return str(refused.value)


def in_one_order(split):
    """Images with their labels, sorted: TFDS shuffles what it prepares."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(split.images, split.targets, strict=True))


def as_written(images):
    return sorted((image.tobytes(), place % 3) for place, image in enumerate(images))


def test_gray_images_are_read_exactly_as_they_were_written(gray):
    folder, written = gray
    dataset = load("tfds:drawn", Options(dir=folder))
    assert (dataset.source, dataset.image_shape, dataset.target_names) == ("tfds:drawn", (6, 5, 1), NAMES)
    assert in_one_order(dataset.train) == as_written(written["train"])
    assert in_one_order(dataset.test) == as_written(written["test"])
    assert (dataset.train.images.dtype, dataset.train.targets.dtype) == (np.uint8, np.int32)
    assert not dataset.train.images.flags.writeable
    assert dict(dataset.digests) == {
        f"{name}/{part}": array_digest(array)
        for name, split in (("train", dataset.train), ("test", dataset.test))
        for part, array in (("images", split.images), ("labels", split.targets))
    }


def test_the_order_and_the_values_are_those_of_tfds_itself(gray):
    folder, _ = gray
    theirs = tfds.data_source("drawn:1.0.0", split="train", data_dir=folder, download=False)
    ours = load("tfds:drawn:1.0.0", Options(dir=folder)).train
    np.testing.assert_array_equal(ours.images, np.stack([example["image"] for example in theirs]))
    assert ours.targets.tolist() == [example["label"] for example in theirs]


@pytest.mark.parametrize("allowed", [50 * 30 - 1, 50 * 30])
def test_images_that_take_more_memory_than_allowed_are_decoded_when_asked_for_and_are_the_same(gray, allowed):
    loaded, stored = (
        load("tfds:drawn", Options(dir=gray[0])),
        load("tfds:drawn", Options(dir=gray[0]), in_memory=allowed),
    )
    assert isinstance(stored.train.images, np.ndarray) == (allowed == 50 * 30)
    assert isinstance(stored.test.images, np.ndarray)
    assert stored.digests == loaded.digests
    np.testing.assert_array_equal(stored.train.targets, loaded.train.targets)
    np.testing.assert_array_equal(stored.train.images[:], loaded.train.images)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(stored.train.images[order], loaded.train.images[order])


def test_colours_are_the_same_when_decoded_in_a_process_of_the_loader(tmp_path):
    examples = as_examples(drawings(30, (4, 7, 3), 2))
    prepare(tmp_path, {"train": examples, "test": examples}, features(3))
    loaded, stored = load("tfds:drawn", Options(dir=tmp_path)), load("tfds:drawn", Options(dir=tmp_path), in_memory=0)
    assert len(pickle.dumps(stored.train.images)) < 500
    order = epoch_order(5, 0, 30)[:28].reshape(7, 4)
    span = {"seed": 5, "batch_size": 4, "first_step": 0, "total_steps": 7, "chunk_steps": 7}
    with Loader(stored.train.images, stored.train.targets, workers=1, **span) as loader:
        chunk = loader.next()
    np.testing.assert_array_equal(chunk.images, loaded.train.images[order])
    np.testing.assert_array_equal(chunk.targets, loaded.train.targets[order])


def test_a_data_set_that_is_damaged_or_prepared_anew_meanwhile_is_an_error(gray, damaged, tmp_path):
    folder, version = damaged
    images = load("tfds:drawn", Options(dir=folder), in_memory=0).train.images
    other = pickle.loads(pickle.dumps(images))
    next(version.glob("drawn-train.array_record-*")).write_bytes(b"something else")
    with pytest.raises(DataError) as refused:
        images[3]
    assert fields(refused.value)[:2] == (f"{version} split 'train'", "whole array_record files")
    shutil.rmtree(version)
    prepare(folder, dict.fromkeys(("train", "test"), as_examples(drawings(49, (6, 5), 3))), features())
    with pytest.raises(DataError) as refused:
        other[3]
    assert fields(refused.value) == (f"{version} split 'train'", "50 examples", "49")


def test_the_folder_of_tfds_is_the_one_its_variable_names(gray, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(gray[0]))
    assert len(load("tfds:drawn").train) == 50


def test_loading_prints_nothing(gray, command_environment):
    code = f"from flaxcnn.data import Options, load; load('tfds:drawn', Options(dir={str(gray[0])!r}))"
    run = subprocess.run([sys.executable, "-c", code], env=command_environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_system_without_array_record_is_told_so(gray, command_environment):
    code = (
        "import sys; sys.modules['array_record'] = None; from flaxcnn.data import Options, load\n"
        f"try: load('tfds:drawn', Options(dir={str(gray[0])!r}))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=command_environment, capture_output=True, text=True)
    assert run.stdout == (
        "ConfigError data.source: array_record is not installed; found 'tfds:drawn'. Install array_record\n"
    )


def test_reading_a_prepared_set_imports_neither_tensorflow_nor_tensorflow_datasets(gray, command_environment):
    code = (
        "import sys; from flaxcnn.data import Options, load\n"
        f"load('tfds:drawn', Options(dir={str(gray[0])!r})); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=command_environment, capture_output=True, text=True)
    assert not {"tensorflow", "tensorflow_datasets", "jax"} & set(run.stdout.split())


def test_colours_are_read_with_their_channels_in_order_whatever_else_an_example_has(tmp_path):
    written = drawings(6, (4, 7, 3), 2)
    others = {"score": np.float32, "file": tfds.features.Text(), "mask": tfds.features.Image(shape=(None, None, 1))}
    extra = {"score": 1.0, "file": "a.png", "mask": encoded(drawings(1, (3, 3), 3))}
    prepare(tmp_path, dict.fromkeys(("train", "test"), as_examples(written, **extra)), features(3, **others))
    dataset = load("tfds:drawn", Options(dir=tmp_path))
    assert dataset.image_shape == (4, 7, 3)
    assert in_one_order(dataset.train) == as_written(written)


def test_features_of_other_names_are_found_by_their_type(tmp_path):
    written = drawings(3, (4, 4, 1), 0)
    examples = [{"picture": encoded(image), "kind": place, "index": 9} for place, image in enumerate(written)]
    kinds = {
        "picture": tfds.features.Image(shape=(4, 4, 1)),
        "kind": tfds.features.ClassLabel(num_classes=3),
        "index": np.int64,
    }
    prepare(tmp_path, {"train": examples, "test": examples}, kinds)
    dataset = load("tfds:drawn", Options(dir=tmp_path))
    assert in_one_order(dataset.train) == as_written(written)
    assert dataset.target_names == ("0", "1", "2")


def test_a_palette_and_an_alpha_channel_are_decoded_as_colours(tmp_path):
    red, blue = np.full((4, 4, 3), (255, 0, 0), np.uint8), np.full((4, 4, 3), (0, 0, 255), np.uint8)
    examples = [
        {"image": encoded(red, mode="P"), "label": 0},
        {"image": encoded(blue, mode="RGBA"), "label": 1},
        {"image": encoded(red[..., 0], mode="L"), "label": 2},  # gray: the same value three times
    ]
    prepare(tmp_path, {"train": examples, "test": examples}, features(3))
    train = load("tfds:drawn", Options(dir=tmp_path)).train
    for image, label in zip(train.images, train.targets, strict=True):
        assert (image == [(255, 0, 0), (0, 0, 255), (255, 255, 255)][label]).all()


def test_the_newest_version_is_read_unless_one_is_named(damaged):
    folder, version = damaged
    for newer in ("1.9.0", "1.10.0"):
        shutil.copytree(version, version.parent / newer)
        description = json.loads((version.parent / newer / "dataset_info.json").read_text())
        description["version"] = newer
        (version.parent / newer / "dataset_info.json").write_text(json.dumps(description))
    (version.parent / "1.10.0" / "label.labels.txt").write_text("newest\nsquare\ntriangle\n")
    assert load("tfds:drawn", Options(dir=folder)).target_names[0] == "newest"
    assert load("tfds:drawn:1.9.0", Options(dir=folder)).target_names[0] == "circle"


def test_a_config_is_named_where_there_are_several(tmp_path):
    examples = dict.fromkeys(("train", "test"), as_examples(drawings(3, (4, 4, 1), 0)))
    prepare(tmp_path, examples, features(), Configured, config="plain")
    assert len(load("tfds:configured", Options(dir=tmp_path)).train) == 3
    prepare(tmp_path, examples, features(), Configured, config="fancy")
    assert len(load("tfds:configured/fancy:1.0.0", Options(dir=tmp_path)).train) == 3
    assert refusal("configured", tmp_path) == (
        f"{tmp_path}/configured: several configs prepared; "
        "expected one of them named, found configured/fancy, configured/plain"
    )


def test_a_data_set_that_is_not_prepared_is_told_the_command(gray, tmp_path):
    command = "`pip install 'flaxcnn[tensorflow]'` and `tfds build {} --file_format=array_record --data_dir={}`"
    assert refusal("mnist", gray[0]) == (
        f"{gray[0]}: no prepared data set 'mnist'; expected mnist/VERSION/dataset_info.json, "
        f"found prepared: drawn:1.0.0. Prepare it with {command.format('mnist', gray[0])}"
    )
    assert refusal("drawn:2.0.0", gray[0]).startswith(
        f"{gray[0]}: no prepared data set 'drawn:2.0.0'; expected drawn/2.0.0/dataset_info.json, "
    )
    assert "found prepared: no such folder. Prepare it with" in refusal("mnist", tmp_path / "nothing")
    assert "found prepared: none. Prepare it with" in refusal("mnist", tmp_path)


@pytest.mark.parametrize("name", ["two words", "../drawn", "drawn:new", "drawn/a/b", "kaggle:drawn"])
def test_what_is_not_a_name_is_refused(gray, name):
    assert refusal(name, gray[0], ConfigError) == (
        f"data.source: not a data set's name; expected tfds:NAME[/CONFIG][:VERSION], found 'tfds:{name}'"
    )


def test_a_format_that_needs_tensorflow_is_told_the_command(damaged):
    folder, version = damaged
    description = json.loads((version / "dataset_info.json").read_text())
    description["fileFormat"] = "tfrecord"
    (version / "dataset_info.json").write_text(json.dumps(description))
    assert refusal("drawn", folder) == (
        f"{version}: a format that takes TensorFlow to read; expected array_record, found tfrecord. Convert it with "
        "`pip install 'flaxcnn[tensorflow]'` and "
        f"`tfds convert_format --dataset_version_dir={version} --out_file_format=array_record`"
    )


def test_a_missing_split_is_named_with_those_that_exist(tmp_path):
    folder = prepare(tmp_path, dict.fromkeys(("train", "validation"), as_examples(drawings(3, (4, 4), 0))), features())
    assert refusal("drawn", tmp_path) == (
        f"{folder}: no split 'test'; expected splits 'train' and 'test', found train, validation"
    )


def test_images_of_different_sizes_are_refused(tmp_path):
    examples = [*as_examples(drawings(1, (4, 4), 0)), *as_examples(drawings(1, (5, 4), 0))]
    folder = prepare(tmp_path, {"train": examples, "test": examples}, features())
    for in_memory in (0, 1000):
        with pytest.raises(DataError) as refused:
            load("tfds:drawn", Options(dir=tmp_path), in_memory=in_memory)
        line = str(refused.value)
        assert line.startswith(f"{folder} split 'train' example 1: images of different sizes; expected ")
        assert "4×4×1" in line
        assert "5×4×1" in line


@pytest.mark.parametrize(
    ("kinds", "line"),
    [
        (
            {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=NAMES)},
            "0 features could be the image; expected one Image, or one of several named 'image', "
            "found label (ClassLabel), text (Text)",
        ),
        (
            {"image": tfds.features.Image(shape=(4, 4, 1)), "label": np.int64},
            "0 features could be the label; expected one ClassLabel, or one of several named 'label', "
            "found image (Image), label (Tensor)",
        ),
        (
            {"image": tfds.features.Image(shape=(4, 4, 4)), "label": tfds.features.ClassLabel(names=NAMES)},
            "images of the wrong kind in feature 'image'; expected uint8 with 1 channel (gray) or 3 (RGB), "
            "found uint8 with 4",
        ),
    ],
)
def test_features_that_do_not_classify_images_are_refused(tmp_path, kinds, line):
    example = {"image": encoded(drawings(1, (4, 4), 0)), "label": 1, "text": "words"}
    examples = [{name: example[name] for name in kinds}]
    folder = prepare(tmp_path, {"train": examples, "test": examples}, kinds)
    assert refusal("drawn", tmp_path) == f"{folder}: {line}"


def test_examples_without_a_label_are_refused(tmp_path):
    # TFDS's own convention for a hidden test label is -1.
    examples = as_examples(drawings(3, (4, 4), 0))
    hidden = [{**example, "label": -1} for example in examples]
    folder = prepare(tmp_path, {"train": examples, "test": hidden}, features())
    assert refusal("drawn", tmp_path) == (
        f"{folder} test labels: labels out of range; expected 0 or more, found -1 at position 0 (3 such labels)"
    )


def test_damaged_images_are_refused(tmp_path):
    whole = encoded(drawings(1, (4, 4), 0))
    cases = (
        ("no image", b""),
        ("no image", b"not an image"),
        ("no image", whole[:40]),
        ("damaged image", whole[:45] + b"\xff\xff" + whole[47:]),
    )
    for number, (what, broken) in enumerate(cases):
        examples = [{"image": broken, "label": 0}]
        folder = prepare(tmp_path / str(number), {"train": examples, "test": examples}, features())
        line = refusal("drawn", tmp_path / str(number))
        assert line.startswith(f"{folder} split 'train' example 0: {what}; expected a PNG, JPEG, BMP or GIF file")


def test_sixteen_bits_in_an_eight_bit_feature_are_refused(tmp_path):
    examples = [{"image": encoded(np.full((4, 4), 1000, np.uint16)), "label": 0}]
    folder = prepare(tmp_path, {"train": examples, "test": examples}, features())
    assert refusal("drawn", tmp_path) == (
        f"{folder} split 'train' example 0: not an 8-bit image; expected 8 bits a channel, found I;16"
    )


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_record_files_are_refused(damaged, damage):
    folder, version = damaged
    records = next(version.glob("drawn-train.array_record-*"))
    content = bytearray(records.read_bytes())
    if damage == "gone":
        records.unlink()
    else:
        content[200] ^= 1
        records.write_bytes(content if damage == "changed" else content[: len(content) // 3])
    assert refusal("drawn", folder).startswith(
        f"{version} split 'train': cannot read the examples; expected whole array_record files, found "
    )


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 3}'])
def test_damaged_descriptions_are_refused(damaged, name, content):
    folder, version = damaged
    (version / name).write_text(content)
    line = refusal("drawn", folder)
    assert line.startswith(f"{version / name}: ")
    assert "\n" not in line

"""A folder of image files becomes a data set: classes, splits, sizes, and what is wrong with it in one line."""

import os

import numpy as np
import PIL.Image
import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.photographs.splitting import stratified
from flaxcnn.errors import ConfigError, DataError


def save(path, seed, size=(12, 10), gray=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    picture = PIL.Image.fromarray(pixels)
    (picture.convert("L") if gray else picture).save(path)
    return pixels


@pytest.fixture
def photos(tmp_path):
    """20 images each of two classes, and the pixels by path."""
    root = tmp_path / "photos"
    made = {
        f"{kind}/{n:02}.png": save(root / kind / f"{n:02}.png", n + 100 * k)
        for k, kind in enumerate(("ant", "bee"))
        for n in range(20)
    }
    return root, made


def test_the_classes_are_the_folders_and_every_pixel_is_the_files(photos):
    root, made = photos
    dataset = load(f"folder:{root}")
    assert dataset.target_names == ("ant", "bee")
    assert dataset.image_shape == (12, 10, 3)
    assert {*dataset.train.names, *dataset.test.names} == set(made)
    for split in (dataset.train, dataset.test):
        for name, image, target in zip(split.names, split.images, split.targets, strict=True):
            np.testing.assert_array_equal(image, made[name])
            assert dataset.target_names[target] == name.partition("/")[0]


def test_the_drawn_test_split_is_stratified_reproducible_and_said(photos, tmp_path):
    root, _ = photos
    dataset = load(f"folder:{root}", Options(test=0.25))
    assert np.bincount(dataset.test.targets).tolist() == [5, 5]
    assert "10 of 40 images are the test split, drawn by their content" in dataset.notes[-1]
    elsewhere = tmp_path / "elsewhere"
    os.rename(root, elsewhere)
    again = load(f"folder:{elsewhere}", Options(test=0.25, cache=False))
    assert again.test.names == dataset.test.names
    assert again.digests == dataset.digests


def test_a_draw_divides_neither_copies_nor_groups():
    digests = [f"{n // 3:04x}" * 4 for n in range(60)]  # three copies each
    drawn = stratified(digests, 0.3, [n // 30 for n in range(60)])
    assert all(len(set(drawn[3 * n : 3 * n + 3].tolist())) == 1 for n in range(20))
    assert drawn[:30].sum() == drawn[30:].sum() == 9
    groups = [n // 10 for n in range(60)]
    by_group = stratified([f"{n:04x}" * 4 for n in range(60)], 0.3, [n // 30 for n in range(60)], groups)
    assert all(len(set(by_group[10 * n : 10 * n + 10].tolist())) == 1 for n in range(6))
    assert by_group[:30].sum() == by_group[30:].sum() == 10


def test_split_folders_are_the_splits(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for kind in ("ant", "bee"):
            for n in range(count):
                save(tmp_path / split / kind / f"{n}.png", hash((split, kind, n)) % 2**32)
    dataset = load(f"folder:{tmp_path}")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [8, 4, 6]
    assert dataset.target_names == ("ant", "bee")
    assert all(name.startswith("val/") for name in dataset.validation.names)


def test_a_validation_folder_without_a_test_folder_is_the_test_split(tmp_path):
    for split in ("train", "valid"):
        for kind in ("ant", "bee"):
            save(tmp_path / split / kind / "1.png", hash((split, kind)) % 2**32)
    dataset = load(f"folder:{tmp_path}")
    assert (len(dataset.train), len(dataset.test), dataset.validation) == (2, 2, None)
    assert "its validation split is the test split" in dataset.notes[-1]


def test_class_level_joins_the_names_of_folders(tmp_path):
    for n, kind in enumerate(("insect/ant", "insect/bee", "bird/ibis")):
        for m in range(3):
            save(tmp_path / kind / f"{m}.png", 10 * n + m)
    assert load(f"folder:{tmp_path}").target_names == ("bird", "insect")
    assert load(f"folder:{tmp_path}", Options(class_level=2)).target_names == ("bird/ibis", "insect/ant", "insect/bee")
    with pytest.raises(DataError, match=r"9 of 9 images less deep than data.class_level 3"):
        load(f"folder:{tmp_path}", Options(class_level=3))


def test_images_of_different_sizes_are_fitted_and_the_choice_is_said_and_kept(tmp_path):
    for n in range(6):
        save(tmp_path / ("ant", "bee")[n % 2] / f"{n}.png", n, (100 + 10 * n, 140))
    dataset = load(f"folder:{tmp_path}")
    assert dataset.image_shape == (96, 96, 3)  # of 224, 192, …, 32 the largest that most images have
    assert dataset.notes[0].startswith("images with sides of 100 to 150 pixels are fitted to 96×96 by crop")
    assert dataset.preparation == {"size": (96, 96), "fit": "crop", "channels": "rgb"}
    assert load(f"folder:{tmp_path}", Options(size=(24, 40))).image_shape == (24, 40, 3)
    assert load(f"folder:{tmp_path}", Options(size=(30,), channels="gray")).image_shape == (30, 30, 1)


def test_gray_images_have_one_channel(tmp_path):
    for n in range(4):
        save(tmp_path / ("ant", "bee")[n % 2] / f"{n}.png", n, gray=True)
    assert load(f"folder:{tmp_path}").image_shape == (12, 10, 1)


@pytest.mark.parametrize("cache", [True, False])
def test_bad_files_are_listed_or_skipped(photos, cache):
    root, _ = photos
    whole = (root / "ant" / "00.png").read_bytes()
    (root / "ant" / "00.png").write_bytes(whole[:200])  # decodes in part
    refused = pytest.raises(DataError, match=r"1 of 40 files cannot be used; .* found ant/00.png: damaged image")
    with refused:
        load(f"folder:{root}", Options(cache=cache))
    (root / "bee" / "00.png").write_text("no image")
    os.mkfifo(root / "bee" / "pipe.png")
    (root / "bee" / "link.png").symlink_to("/etc/hostname")
    (root / "bee" / "loop").symlink_to(root)
    with pytest.raises(
        DataError,
        match=r"4 of 43 files cannot .*00.png: no image.*link out of the folder.*link to a folder.*not a regular file",
    ):
        load(f"folder:{root}", Options(cache=cache))
    dataset = load(f"folder:{root}", Options(cache=cache, on_bad="skip"))
    assert len(dataset.train) + len(dataset.test) == 38
    assert any("5 of 43 files skipped" in note for note in dataset.notes)


def test_the_first_ten_bad_files_are_named(photos):
    root, _ = photos
    for n in range(14):
        (root / "ant" / f"{n:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"14 of 40 files.*no image .*: ant/00.png, .*, ant/09.png and 4 more"):
        load(f"folder:{root}")


def test_a_link_within_the_folder_is_followed(photos):
    root, _ = photos
    (root / "ant" / "again.png").symlink_to(root / "ant" / "01.png")
    dataset = load(f"folder:{root}")
    assert len(dataset.train) + len(dataset.test) == 41


def test_mixed_depths_are_refused(tmp_path):
    save(tmp_path / "ant" / "1.png", 0, gray=True)
    PIL.Image.fromarray(np.zeros((12, 10), np.uint16)).save(tmp_path / "ant" / "2.png")
    save(tmp_path / "bee" / "1.png", 1, gray=True)
    with pytest.raises(
        DataError, match=r"images of different depths; .* found 8 bits in bee/1.png and 16 bits in ant/2.png"
    ):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [],
            "no image files; expected image files in a folder for each class, such as ant/1.jpg, found an empty folder",
        ),
        (["notes.txt"], "no image files; .* found 1 other files, such as notes.txt"),
        (["ant/1.png", "ant/2.png", "ant/3.png"], "only one class; expected at least two classes, found only 'ant'"),
        (
            ["1.png", "ant/2.png", "bee/3.png"],
            "1 of 3 images in no class's folder; expected CLASS/NAME.jpg, found 1.png",
        ),
        (["test/ant/1.png", "test/bee/2.png"], "nothing to train on"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_in_one_line(tmp_path, files, message):
    for n, name in enumerate(files):
        if name.endswith(".png"):
            save(tmp_path / name, n)
        else:
            (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}")


def test_a_missing_folder_and_an_option_of_another_source_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the folder; .* found no such file or directory"):
        load(f"folder:{tmp_path / 'none'}")
    with pytest.raises(ConfigError, match=r"data.group: not an option of this source; expected for folder:DIR: "):
        load(f"folder:{tmp_path}", Options(group="plant"))
    with pytest.raises(ConfigError, match=r"data.size: not an option of this source; expected for mnist: none"):
        load("mnist", Options(size=(28,)))
    with pytest.raises(ConfigError, match=f"Did you mean 'folder:{tmp_path}'?"):
        load(str(tmp_path))


def test_a_file_that_changes_between_epochs_is_named(photos):
    root, _ = photos
    dataset = load(f"folder:{root}", Options(cache=False), in_memory=0)
    name = dataset.train.names[3]
    dataset.train.images[3]
    save(root / name, 999)
    with pytest.raises(DataError, match=f"{name}: the file changed since the data set was loaded"):
        dataset.train.images[3]
    (root / name).unlink()
    with pytest.raises(DataError, match=f"{name}: the file is gone"):
        dataset.train.images[3]


def test_a_file_that_changed_is_another_data_set(photos):
    root, _ = photos
    before = load(f"folder:{root}")
    name = before.train.names[0]
    stamp = os.stat(root / name)
    save(root / name, 999)
    os.utime(root / name, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a copy that keeps times
    after = load(f"folder:{root}")
    assert after.digests["train/images"] != before.digests["train/images"]

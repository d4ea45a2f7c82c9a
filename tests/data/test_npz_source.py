"""Arrays that NumPy saved are a data set, or one line says what is wrong with them."""

import pickle

import numpy as np
import pytest

from flaxcnn.data import Options, StoredImages, from_arrays, load
from flaxcnn.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), np.uint8)
LABELS = np.arange(12) % 3


def refused(source, **options):
    with pytest.raises(DataError) as refusal:
        load(source, **options)
    return str(refusal.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_as_keras_names_them_are_two_splits(tmp_path, save):
    path = tmp_path / "mnist.npz"
    save(path, x_train=IMAGES[:8, ..., 0], y_train=LABELS[:8], x_test=IMAGES[8:, ..., 0], y_test=LABELS[8:])
    dataset = load(f"npz:{path}")
    np.testing.assert_array_equal(dataset.train.images[..., 0], IMAGES[:8, ..., 0])
    np.testing.assert_array_equal(dataset.test.images[..., 0], IMAGES[8:, ..., 0])
    assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([0, 1, 2, 0, 1, 2, 0, 1], [2, 0, 1, 2])
    assert (dataset.target_names, dataset.validation) == (("0", "1", "2"), None)


def test_arrays_as_medmnist_names_them_are_three_splits(tmp_path):
    path = tmp_path / "pathmnist.npz"
    parts = {"train": slice(6), "val": slice(6, 9), "test": slice(9, 12)}
    arrays = {f"{name}_images": IMAGES[part] for name, part in parts.items()}
    np.savez(path, **arrays, **{f"{name}_labels": LABELS[part, None] for name, part in parts.items()})
    dataset = load(f"npz:{path}")
    np.testing.assert_array_equal(dataset.validation.images, IMAGES[6:9])
    assert [split.targets.tolist() for split in dataset.splits.values()] == [[0, 1, 2, 0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_undivided_arrays_get_the_test_split_that_arrays_in_memory_get(tmp_path):
    np.savez(tmp_path / "all.npz", images=IMAGES, labels=LABELS)
    ours, expected = (
        load(f"npz:{tmp_path}/all.npz", Options(test=0.4)),
        from_arrays(IMAGES, LABELS, test_fraction=0.4),
    )
    assert ours.digests == expected.digests


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(np.linspace(0, 1, 12), np.float32), (np.arange(24).reshape(12, 2) % 3 > 0, np.bool_)],
)
def test_targets_are_of_any_kind_that_arrays_have(tmp_path, labels, dtype):
    np.savez(tmp_path / "all.npz", images=IMAGES, labels=labels)
    assert load(f"npz:{tmp_path}/all.npz", Options(test=0.4)).train.targets.dtype == dtype


def test_npz_of_other_names_or_kinds_is_refused(tmp_path):
    path = tmp_path / "some.npz"
    assert "no such file" in refused(f"npz:{path}")
    np.savez(path, images=IMAGES, targets=LABELS)
    assert "found images, targets" in refused(f"npz:{path}")
    np.savez(path, x_train=IMAGES, y_train=LABELS)
    assert "found x_train, y_train" in refused(f"npz:{path}")
    np.savez(path, images=IMAGES / 255, labels=LABELS)
    assert "Use uint8 pixels" in refused(f"npz:{path}")
    np.savez(path, images=IMAGES, labels=LABELS[:5])
    assert "5" in refused(f"npz:{path}")
    np.savez(path, images=np.moveaxis(IMAGES, -1, 1), labels=LABELS)
    assert "channels first" in refused(f"npz:{path}")
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in refused(f"npz:{path}")


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_no_pickle_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.asarray([Trap()] * 12, object))
    assert "damaged: no array of numbers" in refused(f"npz:{tmp_path}/a.npz")
    np.save(tmp_path / "a.npy", np.asarray([Trap()] * 12, object))
    assert "damaged: no array of numbers" in refused(f"npy:{tmp_path}/a.npy")


@pytest.mark.parametrize("beside", ["labels.npy", "photos_labels.npy"])
@pytest.mark.parametrize("shape", [(12, 6, 5, 3), (12, 6, 5)])
def test_a_file_of_images_has_its_targets_beside_it(tmp_path, beside, shape):
    images = IMAGES.reshape(-1)[: np.prod(shape)].reshape(shape)
    np.save(tmp_path / "photos.npy", images)
    np.save(tmp_path / beside, LABELS)
    held = load(f"npy:{tmp_path}/photos.npy", Options(test=0.4))
    stored = load(f"npy:{tmp_path}/photos.npy", Options(test=0.4), in_memory=100)
    assert held.digests == from_arrays(images, LABELS, test_fraction=0.4).digests == stored.digests
    assert isinstance(stored.train.images, StoredImages)
    assert not isinstance(held.train.images, StoredImages)
    again = pickle.loads(pickle.dumps(stored.train.images))
    np.testing.assert_array_equal(np.asarray(again), held.train.images)


def test_arrays_in_another_order_or_type_are_the_same_images(tmp_path):
    np.save(tmp_path / "labels.npy", LABELS.astype(">i8"))
    for images in (IMAGES, np.asfortranarray(IMAGES), IMAGES.astype(np.int64)):
        np.save(tmp_path / "a.npy", images)
        dataset = load(f"npy:{tmp_path}/a.npy", Options(test=0.4), in_memory=100)
        assert dataset.digests == from_arrays(IMAGES, LABELS, test_fraction=0.4).digests


def test_a_file_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, IMAGES)
    whole = path.read_bytes()
    assert "expected a_labels.npy or labels.npy beside a.npy" in refused(f"npy:{path}")
    np.save(tmp_path / "labels.npy", LABELS)
    for content, told in (
        (whole[:-1], "truncated; expected 1,080 bytes"),
        (whole + b"x", "trailing bytes"),
        (whole[:20], "damaged"),
        (b"", "damaged"),
        (b"\x93NUMPY\x02\x00" + whole[8:], "damaged"),
        (whole.replace(b"(12, 6, 5, 3), }", b"(1080,), }      "), "images of the wrong kind"),
    ):
        path.write_bytes(content)
        for in_memory in (0, 1 << 20):
            assert told in refused(f"npy:{path}", in_memory=in_memory)
    path.write_bytes(whole)
    outside = tmp_path.parent / "outside.npy"
    np.save(outside, LABELS)
    (tmp_path / "labels.npy").unlink()
    (tmp_path / "labels.npy").symlink_to(outside)
    assert "lies outside" in refused(f"npy:{path}")

"""The binary versions of CIFAR-10 and CIFAR-100, and Fashion-MNIST as Debian installs it."""

import pickle
import struct

import numpy as np
import pytest

from flaxcnn.data import Options, load
from flaxcnn.data.sources import fashion_mnist
from flaxcnn.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)


def records(labels, planes):
    """Records as the page of CIFAR describes them: labels, then all red, all green and all blue pixels."""
    rows = [bytes(label) + image.astype(np.uint8).tobytes() for label, image in zip(labels, planes, strict=True)]
    return b"".join(rows)


@pytest.fixture
def ten(tmp_path):
    for number in range(1, 6):
        planes = np.full((2, 3, 32, 32), 10 * number)
        planes[1, 0, 0, 1] = 255  # red in the second column of the first row
        (tmp_path / f"data_batch_{number}.bin").write_bytes(records([[number], [0]], planes))
    (tmp_path / "test_batch.bin").write_bytes(records([[9]], RANDOM.integers(0, 256, (1, 3, 32, 32))))
    return tmp_path


@pytest.fixture
def hundred(tmp_path):
    (tmp_path / "train.bin").write_bytes(records([[3, 99], [19, 0]], RANDOM.integers(0, 256, (2, 3, 32, 32))))
    (tmp_path / "test.bin").write_bytes(records([[4, 50]], RANDOM.integers(0, 256, (1, 3, 32, 32))))
    return tmp_path


def refused(source, error=DataError, **options):
    with pytest.raises(error) as refusal:
        load(source, Options(**options))
    return str(refusal.value)


def test_cifar10_is_read_batch_after_batch(ten):
    (ten / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    dataset = load(f"cifar10:{ten}")
    assert dataset.train.images.shape == (10, 32, 32, 3)
    assert dataset.train.targets.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert (dataset.test.targets.tolist(), dataset.target_names) == ([9], tuple("abcdefghij"))
    assert dataset.train.images[4, 0, 0].tolist() == [30, 30, 30]
    assert dataset.train.images[5, 0, :3].tolist() == [[30, 30, 30], [255, 30, 30], [30, 30, 30]]
    assert "data_batch_1.bin has 2 images; the original has 10,000" in dataset.notes[0]


def test_classes_without_a_file_of_names_are_named_by_their_numbers(ten, hundred):
    assert load(f"cifar10:{ten}").target_names == tuple("0123456789")
    assert load(f"cifar100:{hundred}").target_names == tuple(map(str, range(100)))


@pytest.mark.parametrize(
    ("target", "train", "classes"),
    [((), [99, 0], 100), (("fine",), [99, 0], 100), (("coarse",), [3, 19], 20)],
)
def test_cifar100_has_fine_and_coarse_classes(hundred, target, train, classes):
    (hundred / "fine_label_names.txt").write_text("\n".join(f"f{n}" for n in range(100)))
    (hundred / "coarse_label_names.txt").write_text("\n".join(f"c{n}" for n in range(20)))
    dataset = load(f"cifar100:{hundred}", Options(target=target))
    assert dataset.train.targets.tolist() == train
    assert dataset.target_names == tuple(f"{'c' if classes == 20 else 'f'}{n}" for n in range(classes))


def test_cifar100_has_both_in_a_dictionary(hundred):
    dataset = load(f"cifar100:{hundred}", Options(target=("coarse", "fine")))
    assert {name: array.tolist() for name, array in dataset.train.targets.items()} == {
        "coarse": [3, 19],
        "fine": [99, 0],
    }
    assert {name: len(names) for name, names in dataset.target_names.items()} == {"coarse": 20, "fine": 100}


def test_the_folder_in_which_the_archive_was_unpacked_will_do(ten, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    ten.rename(above / "cifar-10-batches-bin")
    assert len(load(f"cifar10:{above}").train) == 10


def test_targets_that_there_are_not_are_refused(ten, hundred):
    assert "Did you mean 'coarse'?" in refused(f"cifar100:{hundred}", ConfigError, target=("corse",))
    assert "unknown target" in refused(f"cifar100:{hundred}", ConfigError, target=("fine", "fine"))
    assert "not an option" in refused(f"cifar10:{ten}", ConfigError, target=("label",))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("data_batch_3.bin", b"", "not whole records; expected a multiple of 3,073 bytes, found 0"),
        ("data_batch_3.bin", bytes(3072), "found 3,072"),
        ("data_batch_3.bin", bytes(3073) + b"\x0a" + bytes(3072), "expected 0 to 9, found 10 at position 1"),
        ("data_batch_3.bin", None, "1 of 6 files missing; expected data_batch_3.bin"),
        ("batches.meta.txt", b"cat\ndog\n", "10 different names, a line each, found 2 names"),
        ("batches.meta.txt", b"\xff", "not text in UTF-8"),
    ],
)
def test_damaged_files_are_one_line(ten, file, content, told):
    (ten / file).write_bytes(content) if content is not None else (ten / file).unlink()
    assert told in refused(f"cifar10:{ten}")


def test_coarse_labels_out_of_range_are_one_line(hundred):
    (hundred / "test.bin").write_bytes(bytes([20, 5]) + bytes(3072))
    assert "coarse labels out of range; expected 0 to 19, found 20" in refused(f"cifar100:{hundred}")


def test_links_out_of_the_folder_are_refused(ten):
    (ten.parent / "outside.bin").write_bytes(bytes(3073))
    (ten / "test_batch.bin").unlink()
    (ten / "test_batch.bin").symlink_to(ten.parent / "outside.bin")
    assert "lies outside" in refused(f"cifar10:{ten}")


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


@pytest.mark.parametrize(("kind", "file"), [("cifar10", "data_batch_1"), ("cifar100", "train")])
def test_the_version_for_python_is_refused_with_advice(tmp_path, kind, file):
    (tmp_path / file).write_bytes(pickle.dumps(Trap()))
    line = refused(f"{kind}:{tmp_path}")
    assert "pickles could run code" in line
    assert "Unpack the binary version, cifar-10" in line
    (tmp_path / file).unlink()
    (tmp_path / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[kind]).mkdir()
    assert "pickles could run code" in refused(f"{kind}:{tmp_path}")


def test_fashion_mnist_is_that_of_debian_with_its_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "FOLDER", tmp_path / "none")
    line = refused("fashion_mnist")
    assert "package dataset-fashion-mnist" in line
    assert "not installed" in line
    for name, images, labels in (("train", 3, [0, 9, 5]), ("t10k", 2, [1, 8])):
        pixels = RANDOM.integers(0, 256, images * 28 * 28, np.uint8).tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, images, 28, 28) + pixels)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, images) + bytes(labels))
    monkeypatch.setattr(fashion_mnist, "FOLDER", tmp_path)
    dataset = load("fashion_mnist")
    assert [dataset.target_names[label] for label in dataset.train.targets] == ["T-shirt/top", "Ankle boot", "Sandal"]
    assert (dataset.source, dataset.image_shape) == ("fashion_mnist", (28, 28, 1))

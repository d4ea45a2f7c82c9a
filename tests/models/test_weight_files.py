"""Files of weights that PyTorch, safetensors, Keras and NumPy wrote; and files that a stranger may send."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flaxcnn.errors import ConfigError, DataError
from flaxcnn.models.weights.reading import read_weights

FILES = Path(__file__).parent / "weight_files"
WHOLE = np.arange(24, dtype=np.float32).reshape(4, 6)
TENSORS = {
    "whole": WHOLE,
    "turned": WHOLE.T,
    "part": WHOLE[1:3, ::2],
    "half": np.array([0.5, -2.0, 1e-4], np.float16),
    "brain": np.array([[0.5, -2.0], [3.0, 1e30]], np.float32),
    "number": np.array(5),
    "double": np.array([0.1, 0.2]),
    "truth": np.array([1, 0], np.uint8),
    "parameter": np.ones(2, np.float32),
    "empty": np.empty((0, 3), np.float32),
}


@pytest.mark.parametrize("name", ["torch_1_6.pth", "torch_0_4.pth", "checkpoint.pth"])
def test_pytorchs_files_old_and_new_hold_what_pytorch_wrote(name):
    found = read_weights(FILES / name)
    assert list(found) == list(TENSORS)
    for each, expected in TENSORS.items():
        assert found[each].shape == expected.shape
        assert found[each].dtype == expected.dtype
        np.testing.assert_allclose(found[each], expected, rtol=2**-8 if each == "brain" else 0)


def test_a_file_of_safetensors_holds_what_was_written():
    found = read_weights(FILES / "safe.safetensors")
    assert sorted(found) == ["double", "half", "number", "whole"]
    for each, array in found.items():
        assert array.dtype == TENSORS[each].dtype
        np.testing.assert_array_equal(array, TENSORS[each])


def test_a_file_of_keras_3_has_the_paths_of_its_variables():
    pytest.importorskip("h5py")
    found = read_weights(FILES / "keras.weights.h5")
    shapes = {  # in the order of Keras' `model.weights`, by which the numbers in the file were given
        "layers/conv2d/vars/0": (2, 2, 2, 3),
        "layers/batch_normalization/vars/0": (3,),
        "layers/batch_normalization/vars/1": (3,),
        "layers/batch_normalization/vars/2": (3,),
        "layers/conv2d_1/vars/0": (1, 1, 3, 2),
        "layers/conv2d_1/vars/1": (2,),
        "layers/dense/vars/0": (18, 2),
        "layers/dense/vars/1": (2,),
    }
    assert {name: array.shape for name, array in found.items()} == shapes
    for number, name in enumerate(shapes):
        assert set(found[name].ravel()) == {number}


def test_without_h5py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ConfigError, match="extra keras"):
        read_weights(FILES / "keras.weights.h5")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_of_numpys_holds_its_arrays(tmp_path, save):
    save(tmp_path / "some.npz", **{"params/head/bias": WHOLE})
    np.testing.assert_array_equal(read_weights(tmp_path / "some.npz")["params/head/bias"], WHOLE)


def refused(path, match=None):
    with pytest.raises(DataError, match=match) as caught:
        read_weights(path)
    assert str(caught.value).isprintable()


class Calls:
    """Unpickled by Python, it calls a function."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def archive(pickled, members=(), **options):
    """A file as torch.save writes it, around a pickle."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", **options) as file:
        file.writestr("archive/data.pkl", pickled)
        for name, data in members:
            file.writestr(name, data)
    return content.getvalue()


def legacy(pickled):
    return b"".join(
        pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ) + pickled + pickle.dumps([], 2)  # fmt: skip


MARKER = "executed"
HOSTILE = {
    **{
        f"os.system, protocol {protocol}": pickle.dumps(Calls(os.system, f"touch {MARKER}"), protocol)
        for protocol in range(6)
    },
    "inside a state dictionary": pickle.dumps({"a": [Calls(os.system, f"touch {MARKER}")]}, 2),
    "eval": pickle.dumps(Calls(eval, f"open('{MARKER}', 'w')"), 2),
    "a function by a dotted name": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R.",
    "a name below a known one": b"\x80\x04\x8c\x0ccollections\x8c\x15OrderedDict.fromkeys\x93)R.",
    "a module as if it were torch's": b"\x80\x02ctorch._utils\nos.system\n(X\x0e\x00\x00\x00touch executedtR.",
    "a pickle within a pickle": b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01.\x85R.",
    "an instance of a class (i)": b"(S'touch executed'\nios\nsystem\n.",
    "an instance of a class (o)": b"(cos\nsystem\nS'touch executed'\no.",
    "a new object": b"\x80\x02cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85\x81.",
    "a new object with keywords": b"\x80\x04cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85}\x92.",
    "a registered extension": b"\x80\x02\x82\x01)R.",
    "a state for an instance": b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.",
    "a call of no function": b"\x80\x02K\x01)R.",
    "a call of a storage": b"\x80\x02ctorch\nFloatStorage\nK\x01\x85R.",
    "a persistent module": b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\nNNtQ.",
    "another persistent object": b"\x80\x02(X\x06\x00\x00\x00modulettQ.",
    "a persistent object by its name": b"Psome\n.",
    "a buffer outside": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("form", [archive, legacy])
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_that_a_pickle_asks_for_is_executed(tmp_path, monkeypatch, form, kind):
    monkeypatch.chdir(tmp_path)
    Path("weights.pth").write_bytes(form(HOSTILE[kind]))
    refused(Path("weights.pth"))
    assert not Path(MARKER).exists()


def test_what_a_pickle_asks_for_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(archive(HOSTILE["os.system, protocol 2"]))
    refused(path, r"asks for posix\.system, which is no tensor")
    refused(FILES / "whole_model.pth", r"torch\.nn\.modules\.linear\.Linear.*save the state dictionary")


def tensor_of(offset=0, shape=(2, 3), strides=(3, 1), count=6, data=None, key="0"):
    """An archive with one tensor, described by hand."""
    stored = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX" + struct.pack("<I", len(key)) + key.encode()
    stored += b"X\x03\x00\x00\x00cpu" + pickle.dumps(count, 2)[2:-1] + b"tQ"
    rest = b"".join(pickle.dumps(each, 2)[2:-1] for each in (offset, shape, strides))
    built = b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + rest + b"\x89)tR"
    numbers = np.arange(6, dtype=np.float32).tobytes() if data is None else data
    return archive(b"\x80\x02}X\x01\x00\x00\x00w" + built + b"s.", [("archive/data/0", numbers)])


def test_a_tensor_described_by_hand_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(tensor_of())
    np.testing.assert_array_equal(read_weights(path)["w"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "described",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"shape": (3, 3)},
        {"shape": (2**40, 2**40)},
        {"shape": (-1, 3)},
        {"shape": (2.0, 3)},
        {"shape": "ab"},
        {"shape": (True, 3)},
        {"shape": (1,) * 100, "strides": (1,) * 100},
        {"shape": (10**9,), "strides": (0,)},
        {"strides": (4, 1)},
        {"strides": (-3, 1)},
        {"strides": (2**62, 2**62)},
        {"strides": (1,)},
        {"strides": None},
        {"count": 7},
        {"count": -1},
        {"count": 2**60},
        {"count": 2},
        {"data": b""},
        {"data": b"odd"},
        {"key": "1"},
        {"key": "../../secret"},
    ],
)
def test_no_tensor_reaches_beyond_its_numbers(tmp_path, described):
    path = tmp_path / "weights.pth"
    path.write_bytes(tensor_of(**described))
    refused(path, "damaged")


BOMBS = {
    "text of gigabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "a number of gigabytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "a negative length": b"\x80\x02T" + struct.pack("<i", -1) + b".",
    "a list that is copied again and again": b"\x80\x02ccollections\nOrderedDict\nq\x00]("
    + b"X\x01\x00\x00\x00aN\x86" * 10**4 + b"e\x85q\x010" + b"h\x00h\x01R0" * 10**5 + b".",
    "lists in lists": b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
    "keys with one hash": b"\x80\x02}(" + b"".join(
        b"\x8a\x0a" + ((2**61 - 1) * number).to_bytes(10, "little") + b"N" for number in range(1, 2000)
    ) + b"u.",
    "a pickle without an end": b"\x80\x02" + b"N" * (3 << 20),
    "a list of itself": b"\x80\x02]q\x00h\x00a.",
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_no_pickle_takes_more_memory_or_time_than_its_bytes_allow(tmp_path, kind):
    path = tmp_path / "weights.pth"
    path.write_bytes(archive(BOMBS[kind]))
    refused(path)


def test_no_archive_is_expanded_or_believed(tmp_path):
    path = tmp_path / "weights.pth"
    good = tensor_of()
    path.write_bytes(archive(b"\x80\x02N.", [("archive/data/0", bytes(10**7))], compression=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 10**5
    refused(path, "compressed or encrypted")
    listed = good.index(b"PK\x01\x02")
    for place, value in [(20, 2**30), (42, 2**30), (16, 12345)]:  # sizes, the place and the checksum of data.pkl
        path.write_bytes(good[: listed + place] + struct.pack("<I", value) + good[listed + place + 4 :])
        refused(path)
    end = good.index(b"PK\x05\x06")
    for place, value in [(8, b"\xfe\xff" * 2), (12, b"\xfe" * 4), (12, b"\xff" * 8)]:  # how many, and how many bytes
        path.write_bytes(good[: end + place] + value + good[end + place + len(value) :])
        refused(path)


def test_an_archive_of_numpys_that_is_a_bomb_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10**8, np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**6
    refused(tmp_path / "bomb.npz", "too large")


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start, stop, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (safetensors({"a": entry(0, 8)}, bytes(8), length=2**31), "header"),
        (safetensors({"a": entry(0, 8)}, bytes(4)), "cut off"),
        (safetensors({"a": entry(0, 8)}, bytes(9)), "after the last"),
        (safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "b: lies"),  # over each other
        (safetensors({"a": entry(0, 8), "b": entry(12, 16)}, bytes(16)), "b: lies"),  # a hole
        (safetensors({"a": entry(4, 8)}, bytes(8)), "a: lies"),
        (safetensors({"a": entry(8, 0, [0])}, bytes(8)), "offsets"),
        (safetensors({"a": entry(0, 8, [2**39, 2**39])}, bytes(8)), "a: lies"),
        (safetensors({"a": entry(0, 8, [-1, -2])}, bytes(8)), "not a shape"),
        (safetensors({"a": entry(0, 8, [2.0])}, bytes(8)), "not a shape"),
        (safetensors({"a": entry(0, 8, [1] * 30)}, bytes(8)), "axes"),
        (safetensors({"a": entry(0, 8, [8], "F8_E4M3")}, bytes(8)), "type F8_E4M3"),
        (safetensors({"a": entry(0, 8, [2], None)}, bytes(8)), "type None"),
        (safetensors({"a": [1]}, bytes(8)), "no offsets"),
        (safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0.0, 8]}}, bytes(8)), "no offsets"),
        (safetensors(b'{"a":' + json.dumps(entry(0, 4)).encode() + b',"a":0}', bytes(4)), "twice"),
        (safetensors(b"{" * 10**5), "damaged"),
        (safetensors(b'{"a":' * 10**5), "nested|damaged"),
        (safetensors(b"{\xff"), "damaged"),
    ],
)
def test_no_header_of_safetensors_is_believed(tmp_path, content, match):
    (tmp_path / "w.safetensors").write_bytes(content)
    refused(tmp_path / "w.safetensors", match)


def test_brain_floats_of_safetensors_are_floats(tmp_path):
    bits = (np.array([1.5, -3.0], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    (tmp_path / "w").write_bytes(safetensors({"a": entry(0, 4, [2], "BF16"), "__metadata__": {"format": "pt"}}, bits))
    np.testing.assert_array_equal(read_weights(tmp_path / "w")["a"], np.array([1.5, -3.0], np.float32))


def test_no_file_in_hdf5_leads_elsewhere_or_is_expanded(tmp_path):
    h5py = pytest.importorskip("h5py")
    np.ones(4, np.float32).tofile(tmp_path / "outside")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.ones(4, np.float32)

    def external_link(file):
        file["a"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")

    def soft_link(file):
        file["b"] = np.ones(2, np.float32)
        file["a"] = h5py.SoftLink("/b")

    def external_numbers(file):
        file.create_dataset("a", (4,), "f4", external=[(str(tmp_path / "outside"), 0, 16)])

    def virtual(file):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", (4,))
        file.create_virtual_dataset("a", layout)

    def compressed(file):
        file.create_dataset("a", data=np.zeros(10**6), compression="gzip")

    def text(file):
        file["a"] = "some text"

    def huge(file):
        file.create_dataset("a", (2**33,), "f4")  # nothing is written, so that the file stays small

    def itself(file):
        file.create_group("group")["group"] = file["/"]

    for write in (external_link, soft_link, external_numbers, virtual, compressed, text, huge, itself):
        with h5py.File(tmp_path / "w.h5", "w") as file:
            write(file)
        refused(tmp_path / "w.h5")


@pytest.mark.parametrize(
    "name", ["torch_1_6.pth", "torch_0_4.pth", "safe.safetensors", "checkpoint.pth", "whole_model.pth"]
)
def test_a_file_that_ends_early_is_damaged(tmp_path, name):
    whole = (FILES / name).read_bytes()
    for length in range(0, len(whole) - 1, 13):
        (tmp_path / "w").write_bytes(whole[:length])
        refused(tmp_path / "w")


def test_what_is_no_regular_file_is_not_read(tmp_path):
    (tmp_path / "link").symlink_to(FILES / "torch_1_6.pth")
    assert len(read_weights(tmp_path / "link")) == len(TENSORS)
    (tmp_path / "device").symlink_to("/dev/zero")
    refused(tmp_path / "device", "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot read")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "a pipe")
    refused(tmp_path, "a folder")
    refused(tmp_path / "none", "no such file")
    refused(tmp_path / "dangling", "no such file")


def test_other_files_are_refused_in_words(tmp_path):
    path = tmp_path / "w"
    for content, match in [
        (b"", "no known format"),
        (b"GIF89a", "no known format"),
        (pickle.dumps({"a": 1}, 2), "torch.save"),
        (bytes(257) + b"ustar\0", r"before 0\.1\.10"),
        (archive(pickle.dumps({}, 2)), "no dictionary of tensors; there are none"),
        (archive(pickle.dumps({"epoch": 1, "best": {}}, 2)), "there are epoch, best"),
        (archive(pickle.dumps([1], 2)), "a list, where"),
        (archive(pickle.dumps({}, 2), [("archive/constants.pkl", b"")]), "TorchScript"),
        (archive(pickle.dumps({}, 2), [("archive/byteorder", b"big")]), "order of bytes"),
        (archive(pickle.dumps({}, 2), [("other/data.pkl", b"")]), "2 members"),
    ]:
        path.write_bytes(content)
        refused(path, match)


def test_a_file_larger_than_allowed_is_not_read():
    with pytest.raises(DataError, match="too large"):
        read_weights(FILES / "torch_1_6.pth", most=100)

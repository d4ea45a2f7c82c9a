"""Archives of arrays, read once their headers were looked at."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from flaxcnn.errors import RunFolderError
from flaxcnn.files.npz import Form, read_npz


def read(path, most=1 << 20, accept=lambda forms: None):
    return read_npz(path, accept, most=most, what="arrays")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3), np.int8),
        np.array(5, np.uint64),
        np.array([True, False]),
        np.array([1 + 2j]),
    ],
)
def test_an_array_is_read_as_numpy_saved_it(tmp_path, save, array):
    save(tmp_path / "file.npz", **{"a/b": array})
    found = read(tmp_path / "file.npz")["a/b"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_small_archive_of_a_large_array_is_refused_before_it_is_read(tmp_path):
    np.savez_compressed(tmp_path / "file.npz", a=np.zeros(1 << 26, np.uint8))
    assert (tmp_path / "file.npz").stat().st_size < 1 << 17
    tracemalloc.start()
    with pytest.raises(RunFolderError, match="too large; expected at most 1,048,576 bytes of arrays, found 67108864"):
        read(tmp_path / "file.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


def test_a_header_that_says_less_than_the_member_holds_is_no_way_around_the_limit(tmp_path):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.zeros(3, np.uint8))
    with zipfile.ZipFile(tmp_path / "file.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content.getvalue() + bytes(1 << 26))
    tracemalloc.start()
    with pytest.raises(RunFolderError, match="longer than its array"):
        read(tmp_path / "file.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


def test_the_caller_sees_the_headers_first_and_may_refuse(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.zeros((2, 3), np.float32))
    seen = {}

    def accept(forms):
        seen.update(forms)
        raise RunFolderError("not these")

    with pytest.raises(RunFolderError, match="not these"):
        read(tmp_path / "file.npz", accept=accept)
    assert seen == {"a": Form(np.dtype("<f4"), (2, 3))}


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.array([(1, 2.0)], "i4,f4")])
def test_an_array_of_anything_but_numbers_is_refused(tmp_path, array):
    np.savez(tmp_path / "file.npz", a=array)
    with pytest.raises(RunFolderError, match="damaged"):
        read(tmp_path / "file.npz")


def test_a_plain_array_file_and_an_archive_of_other_files_are_refused(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(RunFolderError, match="damaged: File is not a zip file"):
        read(tmp_path / "plain.npy")
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    with pytest.raises(RunFolderError, match="a member that is not an array"):
        read(tmp_path / "file.npz")


def test_an_archive_whose_bytes_changed_is_refused_by_its_checksum(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.zeros(1000, np.uint8))
    data = bytearray((tmp_path / "file.npz").read_bytes())
    data[600] ^= 1
    (tmp_path / "file.npz").write_bytes(data)
    with pytest.raises(RunFolderError, match="damaged: Bad CRC-32"):
        read(tmp_path / "file.npz")


def test_a_header_of_many_megabytes_is_refused_before_it_is_read(tmp_path):
    header = b"\x93NUMPY\x02\x00" + (1 << 25).to_bytes(4, "little") + bytes(1 << 25)
    with zipfile.ZipFile(tmp_path / "file.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header)
    tracemalloc.start()
    with pytest.raises(RunFolderError, match=r"no array in NumPy's format 1\.0"):
        read(tmp_path / "file.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


def test_a_member_that_is_compressed_as_numpy_never_does_is_refused(tmp_path):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.zeros(3, np.uint8))
    with zipfile.ZipFile(tmp_path / "file.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", content.getvalue())
    with pytest.raises(RunFolderError, match="compressed as NumPy never does"):
        read(tmp_path / "file.npz")


def test_an_array_in_the_other_order_of_bytes_is_the_same_numbers(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.arange(3, dtype=">f4"))
    found = read(tmp_path / "file.npz")["a"]
    assert found.dtype == np.dtype("float32")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, [0, 1, 2])


def test_a_model_of_many_small_arrays_is_read(tmp_path):
    arrays = {f"params/layer{number}/bias": np.zeros(1, np.float32) for number in range(1000)}
    np.savez(tmp_path / "file.npz", **arrays)
    assert read(tmp_path / "file.npz", most=4 * 1000).keys() == arrays.keys()

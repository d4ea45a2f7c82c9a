"""An IDX file is read whole and right, or it is refused: nothing in between."""

import gzip
import hashlib
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from flaxcnn.data.sources.idx import read_idx, read_idx_images
from flaxcnn.errors import DataError
from tests.answered import answered
from tests.error_fields import fields

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
images = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5))
labels = arrays(np.uint8, array_shapes(min_dims=1, max_dims=1, max_side=40))
IDX = "an IDX file, raw or gzipped"


def written(array):
    """The bytes of an IDX file, by the format's definition."""
    header = b"\0\0\x08" + bytes([array.ndim])
    return header + b"".join(extent.to_bytes(4, "big") for extent in array.shape) + array.tobytes()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some-idx3-ubyte"

    def put(content):
        path.write_bytes(content)
        return path

    return put


def refusal(path, rank=3):
    """What a file that is refused should have held, and what it holds; its images on disk are refused alike."""
    with pytest.raises(DataError) as refused:
        read_idx(path, rank)
    told = fields(refused.value)
    assert told[0] == str(path)
    if rank == 3:
        with pytest.raises(DataError) as refused_on_disk:
            read_idx_images(path, in_memory=0)
        assert str(refused_on_disk.value) == str(refused.value)
    return told[1:]


@many
@given(st.one_of(images, labels), st.booleans())
def test_what_was_written_is_read_raw_or_gzipped_whatever_the_name(file, array, gzipped):
    content = written(array)
    read = read_idx(file(gzip.compress(content) if gzipped else content), array.ndim)
    np.testing.assert_array_equal(read.array, array)
    assert (read.array.dtype, read.array.flags.writeable) == (np.uint8, False)
    assert read.sha256 == hashlib.sha256(content).hexdigest()


@many
@given(images, st.booleans(), st.integers(-1, 1))
def test_images_of_a_raw_file_larger_than_allowed_stay_on_disk_with_the_same_values_and_digest(
    file, array, gzipped, allowed
):
    content = written(array)
    path = file(gzip.compress(content) if gzipped else content)
    images, sha256 = read_idx_images(path, in_memory=len(content) + allowed)
    assert isinstance(images, np.ndarray) == (gzipped or allowed >= 0)
    np.testing.assert_array_equal(images[:], array[..., None])
    assert sha256 == hashlib.sha256(content).hexdigest()


@many
@given(images, st.booleans(), st.data())
def test_a_file_cut_anywhere_is_an_error(file, array, gzipped, data):
    content = gzip.compress(written(array)) if gzipped else written(array)
    refusal(file(content[: data.draw(st.integers(0, len(content) - 1))]))


@many
@given(images, st.booleans(), st.binary(min_size=1, max_size=30))
def test_bytes_after_the_end_are_an_error(file, array, gzipped, extra):
    content = gzip.compress(written(array)) if gzipped else written(array)
    refusal(file(content + extra))
    refusal(file(gzip.compress(written(array) + extra)))


@many
@given(images, st.data())
def test_a_changed_byte_of_a_gzip_file_is_an_error_or_changes_nothing(file, array, data):
    content = bytearray(gzip.compress(written(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = read_idx(file(content), 3)
    except DataError:
        return
    np.testing.assert_array_equal(read.array, array)


@many
@given(st.binary(max_size=60), st.integers(1, 3))
def test_any_bytes_at_all_are_read_by_the_format_or_refused(file, content, rank):
    try:
        read = read_idx(file(content), rank)
    except DataError:
        return
    assert written(read.array) == content


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"\x89PNG\r\n\x1a\n and more bytes",
            ("magic number 00000803 (unsigned bytes, rank 3)", "89504e47"),
        ),
        (b"", ("magic number 00000803 (unsigned bytes, rank 3)", "an empty file")),
        (
            struct.pack(">4I", 0x0D03, 1, 1, 1) + bytes(4),
            ("00000803 (unsigned bytes, rank 3)", "00000d03"),
        ),
        (
            struct.pack(">2I", 0x0801, 3) + bytes(3),
            ("00000803 (unsigned bytes, rank 3)", "00000801 (rank 1)"),
        ),
        (struct.pack(">3I", 0x0803, 1, 1), ("16 bytes of header", "12")),
        (
            struct.pack(">4I", 0x0803, 0, 28, 28),
            ("every dimension at least 1", "0×28×28"),
        ),
        (
            struct.pack(">4I", 0x0803, 2, 3, 2) + bytes(11),
            ("28 bytes (16 of header and 2×3×2)", "27 bytes"),
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused_with_both_sides(file, gzipped, content, told):
    assert refusal(file(gzip.compress(content) if gzipped else content)) == told


def test_trailing_bytes_are_counted_where_the_length_is_known(file):
    content = struct.pack(">4I", 0x0803, 2, 3, 2) + bytes(13)
    assert refusal(file(content)) == ("28 bytes (16 of header and 2×3×2)", "29 bytes")
    assert refusal(file(gzip.compress(content)))[0] == "28 bytes (16 of header and 2×3×2)"


@pytest.mark.parametrize(
    "shape",
    [
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**31, 2**32 - 1, 2),  # 2**64 - 2**32: overflows 64 signed bits
        (2**22, 2**21, 2**21),  # 2**64 elements: 0 in 64 bits
        (2**20, 2**10, 2**3 * 2**10),  # 8 GiB of elements: 16 bytes too many with the header
    ],
)
def test_dimensions_that_overflow_are_refused(file, shape):
    content = struct.pack(">4I", 0x0803, *shape) + bytes(100)
    declared = f"{16 + math.prod(shape)} bytes (16 of header and {'×'.join(map(str, shape))})"
    assert refusal(file(content)) == (declared, "116 bytes")
    assert refusal(file(gzip.compress(content))) == (f"at most {8 * 2**30} bytes", declared)


@pytest.mark.parametrize("gzipped", [False, True])
def test_no_memory_is_taken_on_the_word_of_a_header(file, gzipped):
    content = struct.pack(">4I", 0x0803, 2**20, 2**6, 2**6) + bytes(100)  # declares 4 GiB
    path = file(gzip.compress(content) if gzipped else content)
    tracemalloc.start()
    told = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told[0] == f"{16 + 2**32} bytes (16 of header and {2**20}×{2**6}×{2**6})"
    assert peak < 2**25


def test_a_gzip_bomb_is_not_inflated(file):
    bomb = gzip.compress(struct.pack(">4I", 0x0803, 1, 1, 1) + bytes(2**28), compresslevel=1)
    path = file(bomb)
    tracemalloc.start()
    told = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == ("17 bytes (16 of header and 1×1×1)", "more")
    assert peak < 2**24


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_content_about_as_long_as_a_piece_that_is_inflated_is_read(file, extra):
    # 2**20 bytes with the header: the last output and the end of the stream come in different calls.
    array = np.random.default_rng(0).integers(0, 256, (2**20 - 16 + extra, 1, 1), np.uint8)
    for level in (0, 6):
        np.testing.assert_array_equal(read_idx(file(gzip.compress(written(array), level)), 3).array, array)


def test_damaged_gzip_says_so(file):
    content = gzip.compress(written(np.arange(27, dtype=np.uint8).reshape(3, 3, 3)))
    wrong_crc = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
    whole = "whole gzip members and nothing after them"
    assert refusal(file(wrong_crc)) == (whole, "Error -3 while decompressing data: incorrect data check")
    assert refusal(file(content[:-1])) == (whole, "the stream ends early")
    assert refusal(file(content + b"\0")) == (whole, "bytes after the end of the stream")


def test_a_gzip_header_with_a_name_a_comment_and_a_time_is_read(file):
    # RFC 1952, 2.3: FLG = FEXTRA | FNAME | FCOMMENT, then the fields in this order.
    array = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    plain = gzip.compress(written(array))
    header = b"\x1f\x8b\x08\x1c" + b"\x12\x34\x56\x78" + b"\0\x03" + b"\x02\0XY" + b"a name\0" + b"a comment\0"
    np.testing.assert_array_equal(read_idx(file(header + plain[10:]), 3).array, array)


@many
@given(images, st.data())
def test_a_file_of_several_gzip_members_is_their_contents_one_after_another(file, array, data):
    # RFC 1952, 2.2: "a gzip file consists of a series of members"; bgzip ends a file with an empty one.
    content = written(array)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    pieces = [content[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    packed = b"".join(map(gzip.compress, pieces))
    assert gzip.decompress(packed) == content
    np.testing.assert_array_equal(read_idx(file(packed), 3).array, array)
    assert refusal(file(packed[:-1]))[0] == "whole gzip members and nothing after them"


def test_a_member_more_than_the_header_declares_is_not_inflated(file):
    bomb = gzip.compress(struct.pack(">4I", 0x0803, 1, 1, 1) + b"x") + gzip.compress(bytes(2**28), compresslevel=1)
    path = file(bomb)
    tracemalloc.start()
    told = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told == ("17 bytes (16 of header and 1×1×1)", "more")
    assert peak < 2**24


def test_fifty_thousand_empty_members_take_seconds_at_most(file):
    content = written(np.zeros((2, 2, 2), np.uint8))
    packed = gzip.compress(b"") * 50_000 + gzip.compress(content)  # 1 MB
    with answered():
        assert read_idx(file(packed), 3).array.shape == (2, 2, 2)


def test_what_cannot_be_opened_is_an_error_that_says_why(tmp_path):
    assert refusal(tmp_path / "nothing") == (IDX, "no such file or directory")
    assert refusal(tmp_path) == (IDX, "a folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError) as refused:
        read_idx(tmp_path / "loop", 3)
    assert (refused.value.where, refused.value.expected) == (tmp_path / "loop", IDX)
    assert "Too many levels of symbolic links" in refused.value.what


def test_a_device_or_a_pipe_is_not_a_file(tmp_path):
    assert refusal("/dev/zero") == (IDX, "a device")
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == (IDX, "a pipe")


def test_labels_by_the_gigabyte_are_refused_before_they_are_read(file):
    path = file(struct.pack(">2I", 0x0801, 2**31))
    os.truncate(path, 8 + 2**31)  # a sparse file takes no room on the disk, and would take 2 GiB of memory
    assert refusal(path, rank=1) == ("at most 134,217,728", "2,147,483,648")

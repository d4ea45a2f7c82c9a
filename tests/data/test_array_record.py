"""A file in ArrayRecord's format is read as its library reads it, and a footer that lies takes no memory."""

import os
import resource

import numpy as np
import pyarrow
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from flaxcnn.data.sources.tfds.array_record import MAX_CHUNK, DamagedFileError, open_array_record
from tests.data.array_record_files import BLOCK, MAGIC, array_record, chunk, chunk_of, highway_hash, simple, varint

RECORD = b"an example's bytes" * 5
GOOD = (chunk_of([RECORD]), 1, len(RECORD))
FIRST = 64  # where the first chunk of records begins


@pytest.fixture
def put(tmp_path):
    path = tmp_path / "some.array_record"

    def write(content):
        path.write_bytes(content)
        return path

    return write


def read(path, positions=(0,)):
    file = open_array_record(path, path.parent)
    return file.read(file.reader(), list(positions))


def refusal(path):
    with pytest.raises(DamagedFileError) as refused:
        read(path)
    return str(refused.value)


@pytest.mark.parametrize(
    "options", ["group_size:1", "group_size:7", "group_size:1,uncompressed", "group_size:3,brotli:6"]
)
def test_what_the_library_wrote_is_read_in_any_order(tmp_path, options):
    draw = np.random.default_rng(0)
    records = [draw.integers(0, 256, draw.integers(20, 3000), np.uint8).tobytes() for _ in range(300)]
    path = tmp_path / "some.array_record"
    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    assert os.path.getsize(path) > 6 * BLOCK  # so that headers of blocks stand within chunks
    file = open_array_record(path, tmp_path)
    order = draw.permutation(300).tolist()
    assert len(file) == 300
    assert file.read(file.reader(), order) == [records[place] for place in order]


def test_the_hand_made_files_of_these_tests_are_as_the_library_has_them(put):
    path = put(array_record([GOOD] * 3))
    assert ArrayRecordReader(str(path)).read([2]) == [RECORD]
    assert read(path, [2, 0]) == [RECORD, RECORD]
    assert highway_hash(b"") == bytes.fromhex("e19f13c0e9b1c372")  # the data's hash in every file's first chunk


LIES = {
    "an offset beyond the end": array_record([GOOD], entries=[(50 << 30, len(RECORD), 1)]),
    "an offset that makes a chunk large": array_record([GOOD] * 2, entries=[(FIRST, 90, 1), (50 << 30, 90, 1)]),
    "chunks in another order": array_record([GOOD] * 2, entries=[(FIRST + 150, 90, 1), (FIRST, 90, 1)]),
    "more chunks than entries": array_record([GOOD], metadata=(1, 2**60, 1)),
    "more records than the chunks have": array_record([GOOD], metadata=(1, 1, 2**40)),
    "no record in a chunk": array_record([GOOD], entries=[(FIRST, 90, 0)]),
    "more records than bytes": array_record([GOOD], entries=[(FIRST, 90, 2**50)]),
    "more records in a later chunk": array_record([GOOD] * 2, entries=[(FIRST, 90, 1), (FIRST + 141, 90, 2)]),
    "another version": array_record([GOOD], metadata=(2, 1, 1)),
    "numbers of 64 bits": array_record([GOOD], entries=[(2**64 - 1, 2**64 - 1, 2**64 - 1)], metadata=(1, 1, 2**64 - 1)),
    "a footer beyond the end": array_record([GOOD], postscript=(2**50, MAGIC)),
    "a footer in the postscript": array_record([GOOD], postscript=(BLOCK, MAGIC)),
    "a footer among the records": array_record([GOOD], postscript=(FIRST, MAGIC)),
    "another magic number": array_record([GOOD], postscript=(FIRST, 7)),
    "a chunk that is larger than the footer says": array_record([GOOD], entries=[(FIRST, 60, 1)]),
    "a chunk of more records than the footer says": array_record([(chunk_of([RECORD] * 2), 1, 2 * len(RECORD))]),
    "a chunk of another type": array_record([(chunk(simple([RECORD]), 1, 90, b"t"), 1, 90)]),
    "a large chunk": array_record([(chunk(simple([RECORD]), 1, MAX_CHUNK + 1), 1, MAX_CHUNK + 1)]),
    "a footer of a huge size": array_record([GOOD], footer=chunk(b"\0", 2**40, 2**50)),
    "a footer that inflates": array_record(
        [GOOD],
        footer=chunk(b"z" + varint(9) + varint(2**40) + bytes(4) + varint(2**40) + bytes(9), 2, 100),
    ),
    "a footer of an unknown compression": array_record([GOOD], footer=chunk(b"?\0\0", 2, 100)),
    "sizes that do not end": array_record([GOOD], footer=chunk(b"\0\x02\xff\xff" + bytes(50), 2, 50)),
    "a footer that is no protocol buffer": array_record([GOOD], footer=chunk_of([b"\xff" * 12] * 2)),
    "nothing": b"",
    "zeros": bytes(4 * BLOCK),
    "half a block": array_record([GOOD])[: BLOCK + BLOCK // 2],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_footer_that_lies_is_refused(put, lie):
    assert refusal(put(LIES[lie])).isprintable()


def test_a_record_that_inflates_to_more_than_the_footer_says_is_not_inflated(put):
    packed = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(packed, "zstd") as stream:
        for _ in range(512):
            stream.write(bytes(2**20))
    sizes = varint(5) + pyarrow.Codec("zstd").compress(varint(2**29), asbytes=True)
    bomb = chunk(b"z" + varint(len(sizes)) + sizes + varint(2**29) + packed.getvalue().to_pybytes(), 1, 2**29)
    assert len(bomb) < 50_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(put(array_record([(bomb, 1, 90)])))
    refusal(put(array_record([(bomb, 1, 2**29)])))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_changed_byte_of_a_record_is_found_by_its_hash(put):
    content = bytearray(array_record([GOOD]))
    content[FIRST + 60] ^= 1
    assert "hash" in refusal(put(content))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "outside", "nothing", "loop"])
def test_only_a_regular_file_in_the_folder_is_opened(tmp_path, kind):
    (tmp_path / "set").mkdir()
    (tmp_path / "outside").write_bytes(array_record([GOOD]))
    path = tmp_path / "set" / "some.array_record"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        path.symlink_to({"device": "/dev/zero", "outside": "../outside", "loop": "some.array_record"}[kind])
    refusal(path)


def test_a_sparse_file_of_a_terabyte_takes_no_memory(put):
    path = put(b"")
    os.truncate(path, 1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 << 10

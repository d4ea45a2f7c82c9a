"""What a scan found is remembered exactly, and a file that is damaged or from a stranger is as good as none."""

import io
import zipfile

import numpy as np
import pytest

from flaxcnn.data.image_files import FileInfo
from flaxcnn.data.photographs.remembered import Scanned, recall, remember
from tests.fuzz.mutations import mutated_bytes

DIGEST = bytes(range(32)).hex()
SCANS = {
    "ant/1.jpg": ((10, 2**60, -5, 2**63 - 1), Scanned(DIGEST, FileInfo("JPEG", 480, 640, False, 8))),
    "ant/2 \n é.png": ((0, 0, 0, 0), Scanned(DIGEST[::-1], FileInfo("PNG", 1, 2, True, 16))),
    "bee/\udcff.mpo": ((1, 2, 3, 4), Scanned(DIGEST, FileInfo("MPO", 7, 7, False, 8))),
    "bee/damaged": ((1, 2, 3, 4), Scanned(DIGEST, None, "damaged image (Ende: früh)")),
    "bee/unread": ((1, 2, 3, 4), Scanned("", None, "permission denied")),
    "bee/1.mp4": ((1, 2, 3, 4), Scanned(DIGEST, FileInfo("video", 5, 6, False, 8), "", (1, 30, -4, 0, 2**40))),
}


@pytest.mark.parametrize("found", [SCANS, {}, {"bee/unread": SCANS["bee/unread"]}])
def test_what_was_found_is_remembered(tmp_path, found):
    remember(tmp_path / "below" / "scan.npz", found)
    assert recall(tmp_path / "below" / "scan.npz") == found
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["scan.npz"]


def test_no_file_and_no_folder_to_write_to_are_no_error(tmp_path):
    assert recall(tmp_path / "none.npz") == {}
    (tmp_path / "file").touch()
    remember(tmp_path / "file" / "scan.npz", SCANS)


def test_a_number_that_no_column_holds_is_not_remembered(tmp_path):
    remember(tmp_path / "scan.npz", {"a": ((1, 2**70, 3, 4), Scanned(DIGEST, None, "bad"))})
    assert list(tmp_path.iterdir()) == []


def columns(path):
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("version", lambda column: column + 1),
        ("names", lambda column: column[:-4]),
        ("names", lambda column: np.full_like(column, 0xFF)),
        ("stamps", lambda column: column[:-1]),
        ("stamps", lambda column: column.astype(np.float64)),
        ("stamps", lambda column: column[:, :3]),
        ("format", lambda column: column + 77),
        ("formats", lambda column: column[:0]),
        ("frames_end", lambda column: column - 1),
        ("frames_end", lambda column: column[::-1]),
        ("frames", lambda column: column[1:]),
        ("faults", lambda column: np.zeros(3, np.uint8)),
        ("digests", lambda column: column.astype(object)),  # a pickle
        ("more", lambda column: np.zeros(3)),
    ],
)
def test_columns_that_do_not_fit_are_as_good_as_none(tmp_path, name, change):
    path = tmp_path / "scan.npz"
    remember(path, SCANS)
    kept = columns(path)
    np.savez(path, **{**kept, name: change(kept.get(name))})
    assert recall(path) == {}


def test_a_few_bytes_that_say_they_are_gigabytes_are_as_good_as_none(tmp_path):
    path = tmp_path / "scan.npz"
    remember(path, SCANS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, header.getvalue() if name == "frames.npy" else content)
    assert recall(path) == {}


def test_changed_bytes_never_raise(tmp_path):
    path = tmp_path / "scan.npz"
    remember(path, SCANS)
    whole = path.read_bytes()
    for data in mutated_bytes([whole], 300):
        path.write_bytes(data)
        assert recall(path).keys() <= SCANS.keys()  # the archive's checksums find what is changed

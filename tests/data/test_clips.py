"""A table of videos, or of ranges of them, becomes frames; or one error says which rows do not fit."""

import shutil

import numpy as np
import pytest

pytest.importorskip("av")

from flaxcnn.data import Options, load
from flaxcnn.errors import ConfigError, DataError
from tests.data.test_tables import write
from tests.data.videos import NEAR, gray, write_video


@pytest.fixture
def folder(tmp_path):
    """Videos a.mp4 to d.mp4 of 25 frames, 10 a second: 0.0 to 2.4 s. Frame k of the n-th is of gray 10 n + 5 k."""
    for n, name in enumerate("abcd"):
        write_video(tmp_path / f"{name}.mp4", [gray(10 * n + 5 * k) for k in range(25)])
    return tmp_path


def made(folder, rows, kind="csv", **options):
    path = folder / f"table.{kind}"
    if isinstance(rows, str):
        path.write_text(rows)
    else:
        write(path, kind, rows)
    return load(f"video:{path}", Options(**options))


ROWS = [
    {"path": "a.mp4", "start": 0.5, "end": 1.5, "label": "rain", "split": "train"},
    {"path": "a.mp4", "start": 1.5, "end": None, "label": "sun", "split": "train"},
    {"path": "b.mp4", "start": None, "end": 0.3, "label": "sun", "split": "test"},
    {"path": "c.mp4", "start": None, "end": None, "label": "rain", "split": "test"},
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_frames_within_each_range_are_images_named_by_their_time_in_the_video(folder, kind):
    dataset = made(folder, ROWS, kind, frames=2)
    # At 0.5, 0.6, … 1.4 s one frame from each half second on; then from 1.5 s to the end, 2.4 s.
    assert dataset.train.names == tuple(f"a.mp4@{time}" for time in ("0.500", "1.000", "1.500", "2.000"))
    assert np.asarray(dataset.train.images).mean((1, 2, 3)) == pytest.approx([25, 50, 75, 100], abs=NEAR)
    assert dataset.target_names == ("rain", "sun")
    assert dataset.train.targets.tolist() == [0, 0, 1, 1]
    assert dataset.test.names[:2] == ("b.mp4@0.000", "c.mp4@0.000")
    assert dataset.test.targets.tolist() == [1, 0, 0, 0, 0, 0]
    assert len(set(dataset.train.groups)) == 1
    assert len(set(dataset.test.groups)) == 2


def test_intervals_begin_with_the_range(folder):
    rows = "path,start,end,label,split\na.mp4,0.7,2,x,train\nb.mp4,0,,y,train\nc.mp4,0,,x,test\nd.mp4,,,y,test\n"
    names = made(folder, rows, frames=2).train.names
    assert [name for name in names if name.startswith("a")] == ["a.mp4@0.700", "a.mp4@1.200", "a.mp4@1.700"]


def test_a_start_that_is_a_decimal_fraction_has_its_frame(folder):
    rows = [
        f"{name}.mp4,{k / 10},{(k + 1) / 10},{k % 2},{split}"
        for name, split in (("a", "train"), ("b", "test"))
        for k in range(25)
    ]
    dataset = made(folder, "\n".join(["path,start,end,label,split", *rows]), frames=10)
    assert dataset.train.names == tuple(f"a.mp4@{k / 10:.3f}" for k in range(25))
    assert dataset.train.targets.tolist() == [k % 2 for k in range(25)]


def test_several_targets_numbers_and_labels(folder):
    rows = "video,kind,depth,tags\na.mp4,x,1.5,wet|dry\nb.mp4,,2.5,\nc.mp4,x,,dry\nd.mp4,y,0.5,wet\n"
    dataset = made(folder, rows, target=("kind", "depth", "tags[]"), frames=1, test=0.3)
    both = [*zip(dataset.train.names, dataset.train.targets["depth"], strict=True)]
    both += zip(dataset.test.names, dataset.test.targets["depth"], strict=True)
    by_clip = {name[0]: depth for name, depth in both}
    assert {name: depth for name, depth in by_clip.items() if name != "c"} == {"a": 1.5, "b": 2.5, "d": 0.5}
    assert np.isnan(by_clip["c"])
    assert dataset.target_names == {"kind": ("x", "y"), "depth": ("depth",), "tags": ("dry", "wet")}


def test_ranges_of_one_video_and_of_its_copies_are_never_on_both_sides(folder):
    shutil.copy(folder / "a.mp4", folder / "copy.mp4")
    rows = [
        f"{name}.mp4,{start},{start + 1},{label}"
        for name in ("a", "b", "c", "d", "copy")
        for start, label in ((0, "x"), (1, "x"), (2, "y"))
    ]
    dataset = made(folder, "\n".join(["path,start,end,label", *rows]), frames=5, test=0.4)
    sides = [{name.partition("@")[0] for name in split.names} for split in (dataset.train, dataset.test)]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[0] | sides[1]) == 5
    assert {"a.mp4", "copy.mp4"} <= sides[0] or {"a.mp4", "copy.mp4"} <= sides[1]


def test_the_columns_group_and_split_divide_whole_videos(folder):
    rows = "path,label,site\na.mp4,x,1\nb.mp4,x,1\nc.mp4,x,2\nd.mp4,y,2\n"
    dataset = made(folder, rows, group="site", frames=1, test=0.5)
    assert {name[0] for name in dataset.train.names} in ({"a", "b"}, {"c", "d"})
    divided = "path,start,end,label,split\na.mp4,0,1,x,train\nb.mp4,,,y,train\na.mp4,1,2,y,test\n"
    with pytest.raises(DataError, match=r"1 of 3 rows have another 'split' than their video.*a\.mp4 in lines 2, 4"):
        made(folder, divided)
    with pytest.raises(DataError, match=r"have another 'site' than their video.*a\.mp4 in lines 2, 3"):
        made(folder, "path,start,end,label,site\na.mp4,0,1,x,1\na.mp4,1,2,y,2\n", group="site")


def test_ranges_that_overlap_are_joined_or_refused(folder):
    rest = "b.mp4,,,y,train\nc.mp4,,,x,test\nd.mp4,,,y,test\n"
    head = "path,start,end,label,split\n"
    joined = made(folder, f"{head}a.mp4,1,2,x,train\na.mp4,0,1.25,x,train\na.mp4,2.1,,x,train\n{rest}", frames=2)
    assert [name[6:] for name in joined.train.names if name[0] == "a"] == ["0.000", "0.500", "1.000", "1.500", "2.100"]
    assert any("1 rows overlap another one and are joined with it" in note for note in joined.notes)
    for other in ("a.mp4,0,1.25,y,train", "a.mp4,,,y,train", "./a.mp4,1.9,9,y,train"):
        with pytest.raises(DataError, match=r"overlap another of the same video, with other values.*a\.mp4 in lines"):
            made(folder, f"{head}a.mp4,1,2,x,train\n{other}\n{rest}")


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("0", "60", "0 to 60 s, of a video whose last frame is at 2.400 s"),
        ("2.5", "", "2.5 to the end s, of a video whose last frame is at 2.400 s"),
        ("0.41", "0.49", "no frame in it"),
    ],
)
def test_a_range_outside_of_its_video_or_without_a_frame_is_an_error_or_left_out(folder, start, end, said):
    head = "path,start,end,label,split\nb.mp4,,,x,train\nd.mp4,,,y,train\n"
    rows = f"{head}a.mp4,{start},{end},y,train\nc.mp4,0,1,x,test\nc.mp4,1,3,y,test\n"  # 3: rounded up
    with pytest.raises(DataError, match=rf"1 of 5 ranges cannot be used.*a\.mp4, line 4: {said}"):
        made(folder, rows)
    dataset = made(folder, rows, on_bad="skip")
    assert {name[0] for name in dataset.train.names} == {"b", "d"}
    assert any("1 of 5 ranges skipped" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mp4,2,1,x", r"1 of 1 rows have no range; .*start 2, end 1 in line 2"),
        ("a.mp4,1,1,x", r"start 1, end 1 in line 2"),
        ("a.mp4,-1,,x", r"start -1, end none in line 2"),
        ("a.mp4,0:10,1,x", r"1 of 1 rows have no number in 'start'; .*'0:10' in line 2"),
        ("a.mp4,0,nan,x", r"have no number in 'end'; .*'nan' in line 2"),
        ("a.mp4,0,1e999999999,x", r"have no number in 'end'"),
        ("a.mp4,0,1e30,x", r"1 of 1 ranges cannot be used"),
        (",0,1,x", r"1 of 1 rows have no 'path'; expected a video file in each row"),
        ("a.mp4,0,1,", r"1 of 1 rows have no 'label'"),
        ("../a.mp4,0,1,x", r"\.\./a\.mp4: lies outside the folder"),
    ],
)
def test_a_row_that_is_wrong_is_named_by_its_line(folder, row, said):
    with pytest.raises(DataError, match=said):
        made(folder, f"path,start,end,label\n{row}\n")


def test_videos_that_are_missing_are_counted_and_the_first_ten_are_named(folder):
    rows = ["a.mp4,x", *(f"m{number:02}.mp4,y" for number in range(12))]
    with pytest.raises(
        DataError, match=r"12 of 13 files cannot be used.*no such file or directory: m00\.mp4, .*m09\.mp4 and 2 more"
    ):
        made(folder, "\n".join(["path,label", *rows]))


def test_options_and_tables_of_another_kind_are_refused(folder):
    with pytest.raises(ConfigError, match=r"data\.class_level: not an option of this source; expected for video:TABLE"):
        made(folder, ROWS, class_level=2)
    with pytest.raises(ConfigError, match=r"data\.target: not an option of this source; expected for video:DIR"):
        load(f"video:{folder}", Options(target=("label",)))
    with pytest.raises(DataError, match=r"no column of video files; expected a column path, .*clip, found label"):
        made(folder, "label\nx\n")
    with pytest.raises(DataError, match="no such file; expected a table"):
        load(f"video:{folder / 'none.csv'}", Options())


def test_ranges_that_change_are_read_again(folder):
    first = made(folder, ROWS, frames=2)
    again = made(folder, [{**ROWS[0], "end": 1.0}, *ROWS[1:]], frames=2)
    assert len(again.train) == len(first.train) - 1
    assert again.digests["train/images"] != first.digests["train/images"]
    assert made(folder, ROWS, frames=2).digests == first.digests

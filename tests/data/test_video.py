"""Frames of videos become images: chosen by their time, named by it, and never divided from their clip."""

import http.server
import shutil
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("av")

from flaxcnn.data import Options, load
from flaxcnn.data.photographs import video
from flaxcnn.data.sources import video as source
from flaxcnn.errors import ConfigError, DataError
from tests.data.videos import FORMS, NEAR, gray, write_video


def clip(path, first=0, count=25, step=5):
    """A video of 10 frames a second, each of one gray, which rises by `step` each frame."""
    return write_video(path, [gray(first + step * position) for position in range(count)])


@pytest.fixture
def folder(tmp_path):
    clip(tmp_path / "train" / "rain" / "1.mp4")
    clip(tmp_path / "train" / "sun" / "2.mp4", first=100)
    clip(tmp_path / "test" / "rain" / "3.mp4", count=5)
    clip(tmp_path / "test" / "sun" / "4.mp4", first=50, count=12)
    return tmp_path


def means(split):
    return [float(np.mean(image)) for image in np.asarray(split.images)]


def test_the_first_frame_of_each_interval_is_an_image_named_by_its_time(folder):
    dataset = load(f"video:{folder}", Options(frames=2))
    # 25 frames at 0, 0.1, … 2.4 s: of each half second the first.
    times = ["0.000", "0.500", "1.000", "1.500", "2.000"]
    assert dataset.train.names == tuple(
        f"train/{name}@{time}" for name in ("rain/1.mp4", "sun/2.mp4") for time in times
    )
    expected = [5 * place for place in (0, 5, 10, 15, 20)]
    assert means(dataset.train) == pytest.approx([*expected, *(100 + each for each in expected)], abs=NEAR)
    assert dataset.target_names == ("rain", "sun")
    assert dataset.train.targets.tolist() == [0] * 5 + [1] * 5
    assert dataset.test.names == tuple(
        f"test/{name}" for name in ("rain/3.mp4@0.000", "sun/4.mp4@0.000", "sun/4.mp4@0.500", "sun/4.mp4@1.000")
    )
    assert dataset.image_shape == (48, 64, 3)
    assert len(set(dataset.train.groups[:5])) == len(set(dataset.train.groups[5:])) == 1
    assert len(set(dataset.train.groups) | set(dataset.test.groups)) == 4


@pytest.mark.parametrize("extension", FORMS)
def test_every_container_gives_the_same_frames(tmp_path, extension):
    for name, first in (("a/1", 0), ("b/2", 100)):
        clip(tmp_path / "train" / f"{name}.{extension}", first)
        clip(tmp_path / "test" / f"{name}.{extension}", first)
    dataset = load(f"video:{tmp_path}", Options(frames=5))
    expected = [5 * place for place in range(0, 25, 2)]
    assert means(dataset.train) == pytest.approx([*expected, *(100 + each for each in expected)], abs=NEAR)
    assert [name.partition("@")[2] for name in dataset.train.names[:3]] == ["0.000", "0.200", "0.400"]


def test_more_frames_a_second_than_there_are_take_each_once(folder):
    dataset = load(f"video:{folder}", Options(frames=1000))
    assert len(dataset.train) == 50
    assert means(dataset.train)[:25] == pytest.approx([5 * place for place in range(25)], abs=NEAR)


def test_frames_at_uneven_times_are_chosen_by_their_time(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            frames = [gray(each) for each in (0, 50, 100, 150, 200)]
            write_video(tmp_path / split / name / "1.mkv", frames, times=(0, 1, 9, 11, 35))
    dataset = load(f"video:{tmp_path}", Options(frames=1))
    assert [name.partition("@")[2] for name in dataset.test.names[:3]] == ["0.000", "1.100", "3.500"]
    assert means(dataset.test)[:3] == pytest.approx([0, 150, 200], abs=NEAR)


def test_frames_less_often_than_once_a_second(folder):
    dataset = load(f"video:{folder}", Options(frames=0.5))
    assert [name.partition("@")[2] for name in dataset.train.names[:2]] == ["0.000", "2.000"]


def test_a_frame_is_turned_as_the_file_says(tmp_path):
    frame = gray(0)
    frame[:, 48:] = 200  # the right quarter is bright
    for split in ("train", "test"):
        for name in ("a", "b"):
            path = write_video(tmp_path / split / name / "1.mp4", [frame] * 3)
            # QuickTime's matrix of a track: x' = a x + c y, y' = b x + d y, with y downwards. With b = 1 and c = -1
            # what is right comes to lie below: a quarter of a turn clockwise.
            identity = b"".join(each.to_bytes(4) for each in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
            turned = b"".join(each.to_bytes(4) for each in (0, 1 << 16, 0, 2**32 - (1 << 16), 0, 0, 0, 0, 1 << 30))
            data = path.read_bytes()
            track = data.index(b"tkhd")
            place = data.index(identity, track)
            path.write_bytes(data[:place] + turned + data[place + len(turned) :])
    image = load(f"video:{tmp_path}").train.images[0]
    assert image.shape == (64, 48, 3)
    assert image[:44].mean() == pytest.approx(0, abs=NEAR)
    assert image[52:].mean() == pytest.approx(200, abs=NEAR)


def test_a_drawn_test_split_has_whole_clips_and_copies_of_one_on_one_side(tmp_path):
    for name in ("rain", "sun"):
        for number in range(5):
            clip(tmp_path / name / f"{number}.mp4", first=10 * number, step=2 if name == "rain" else 3)
        shutil.copy(tmp_path / name / "0.mp4", tmp_path / name / "copy.mp4")
    dataset = load(f"video:{tmp_path}", Options(frames=3, test=0.4))
    clips = [{name.partition("@")[0] for name in split.names} for split in (dataset.train, dataset.test)]
    assert clips[0].isdisjoint(clips[1])
    assert len(clips[0] | clips[1]) == 12
    for name in ("rain", "sun"):
        pair = {f"{name}/0.mp4", f"{name}/copy.mp4"}
        assert pair <= clips[0] or pair <= clips[1]
        assert any(each.startswith(name) for each in clips[1])


def test_the_same_files_give_the_same_images_whether_they_are_decoded_or_cached(folder):
    first, again = (load(f"video:{folder}", Options(frames=4)) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(first.train.images), np.asarray(again.train.images))
    assert first.digests == again.digests
    assert load(f"video:{folder}", Options(frames=5)).digests != first.digests
    clip(folder / "train" / "rain" / "1.mp4", first=1)
    assert load(f"video:{folder}", Options(frames=4)).digests["train/images"] != first.digests["train/images"]


def noise(path):
    """A video of two seconds whose bytes are nearly all of its frames."""
    draw = np.random.default_rng(0)
    return write_video(path, [draw.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(20)])


DAMAGES = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"a text that is no video",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "without frames": lambda whole: whole[:200],
    "zeros": lambda whole: whole[:5000] + bytes(len(whole) - 10_000) + whole[-5000:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi"])
def test_a_damaged_video_is_an_error_or_left_out(folder, damage, extension):
    path = noise(folder / "train" / "rain" / f"5.{extension}")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if (damage, extension) == ("truncated", "mkv"):  # which has no count of its frames: those that are there are sound
        images = np.asarray(load(f"video:{folder}", Options(frames=10)).train.images)
        noise(path)
        whole = load(f"video:{folder}", Options(frames=10)).train
        kept = len(images) - 50
        place = whole.names.index("train/rain/5.mkv@0.000")
        assert 5 < kept < 20
        np.testing.assert_array_equal(images[place : place + kept], whole.images[place : place + kept])
        return
    with pytest.raises(DataError, match=rf"1 of 5 files cannot be used.*train/rain/5\.{extension}: "):
        load(f"video:{folder}", Options(frames=10))
    dataset = load(f"video:{folder}", Options(frames=10, on_bad="skip"))
    assert {name.partition("@")[0] for name in dataset.train.names} == {"train/rain/1.mp4", "train/sun/2.mp4"}
    assert any("1 of 5 files skipped" in note for note in dataset.notes)


def test_a_damaged_frame_is_found_each_time(folder, tmp_path, monkeypatch):
    path = noise(folder / "train" / "rain" / "5.mkv")
    path.write_bytes(DAMAGES["zeros"](path.read_bytes()))
    for place in range(30):  # FFmpeg's threads of frames missed it once in ten times
        monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / f"cache {place}"))
        with pytest.raises(DataError, match="a frame that cannot be decoded whole"):
            load(f"video:{folder}", Options(frames=10))


def test_a_video_that_is_damaged_behind_its_first_frame_is_left_out_whole(folder):
    path = noise(folder / "train" / "rain" / "5.mov")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4 + 20_000
    data[middle : middle + 10_000] = bytes(10_000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 5 files cannot be used.*train/rain/5\.mov: "):
        load(f"video:{folder}", Options(frames=10))
    dataset = load(f"video:{folder}", Options(frames=10, on_bad="skip"))
    assert {name.partition("@")[0] for name in dataset.train.names} == {"train/rain/1.mp4", "train/sun/2.mp4"}


def test_a_playlist_reaches_neither_the_network_nor_another_file(folder):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        lists = {
            "m3u8.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
            "concat.mkv": f"ffconcat version 1.0\nfile '{folder}/train/sun/2.mp4'\n",
            "sdp.avi": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n",
            "dash.webm": f'<?xml version="1.0"?><MPD><BaseURL>{address}/</BaseURL></MPD>',
        }
        for name, text in lists.items():
            (folder / "train" / "rain" / name).write_text(text)
        with pytest.raises(DataError, match=r"4 of 8 files cannot be used.*found no video: train/rain/concat\.mkv, "):
            load(f"video:{folder}")
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_a_codec_that_is_not_named_is_refused(folder, monkeypatch):
    monkeypatch.setattr(video, "CODECS", video.CODECS - {"h264"})
    with pytest.raises(DataError, match=r"4 of 4 files cannot be used.*a codec that is not decoded \(h264\)"):
        load(f"video:{folder}")


def test_frames_that_are_too_large_and_too_many_are_refused(folder, monkeypatch):
    monkeypatch.setattr(source, "MOST_FRAMES", 7)
    with pytest.raises(DataError, match=r"too many frames; expected at most 7, found 9.*--data\.frames"):
        load(f"video:{folder}")
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match=r"frames too large \(64×48\)"):
        load(f"video:{folder}", Options(frames=3))


def test_videos_in_no_class_and_options_of_other_sources_are_refused(tmp_path):
    clip(tmp_path / "1.mp4")
    with pytest.raises(DataError, match="1 of 1 videos in no class's folder"):
        load(f"video:{tmp_path}")
    with pytest.raises(ConfigError, match=r"data\.cache: not an option of this source"):
        load(f"video:{tmp_path}", Options(cache=False))


def test_without_pyav_one_line_says_how_to_install_it(folder, monkeypatch):
    for module in ("flaxcnn.data.sources.video", "flaxcnn.data.photographs.video"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError) as refused:
        load(f"video:{folder}")
    assert str(refused.value).endswith(f"av is not installed; found 'video:{folder}'. Pip install av")

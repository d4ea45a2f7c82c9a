"""Videos: whatever FFmpeg makes of their bytes."""

import pytest

pytest.importorskip("av")

from flaxcnn.data import Options, load
from tests.data.videos import FORMS, gray, write_video
from tests.fuzz.mutations import count, hold, mutated_bytes


def test_no_video_is_answered_with_anything_but_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    seeds = []
    for extension in FORMS:
        frames = [gray(40 * place, (16, 24)) for place in range(6)]
        seeds.append(write_video(tmp_path / f"1.{extension}", frames).read_bytes())
        for split in ("train", "test"):
            for name in ("ant", "bee"):
                write_video(tmp_path / "videos" / split / name / f"1.{extension}", frames)
    path = tmp_path / "videos" / "train" / "ant" / "2.mp4"  # decoded by its content, whatever it is called

    def run(data):
        path.write_bytes(data)
        load(f"video:{tmp_path / 'videos'}", Options(size=(16,), frames=10, on_bad="skip"))

    hold(run, mutated_bytes(seeds, count(4)))


def test_no_table_of_videos_is_answered_with_anything_but_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path / "cache"))
    for name in "abcd":
        write_video(tmp_path / f"{name}.mp4", [gray(40 * place, (16, 24)) for place in range(6)])
    lines = ["path,start,end,label,split", "a.mp4,0,0.3,x,train", "a.mp4,0.3,,y,train", "b.mp4,,1e-1,x,train"]
    lines += ["c.mp4,,,x,test", "d.mp4,0.2,0.5,y,test"]
    seed = "\n".join(lines).encode()
    path = tmp_path / "table.csv"

    def run(data):
        path.write_bytes(data)
        load(f"video:{path}", Options(size=(16,), frames=10, on_bad="skip"))

    run(seed)
    hold(run, mutated_bytes([seed], count(4)))

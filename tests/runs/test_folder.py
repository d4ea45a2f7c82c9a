"""A run's folder is made once, written whole, and never overwritten."""

import json
import socket

import pytest

from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder.lock import locked
from flaxcnn.runs.folder.run_folder import RunFolder, make_run_folder, open_run_folder


def test_runs_are_numbered_after_the_largest_of_their_config(tmp_path):
    root = tmp_path / "runs"
    assert make_run_folder(None, "paper", root).path == root / "paper-001"
    (root / "paper-041").mkdir()
    (root / "paper-more-099").mkdir()
    assert make_run_folder(None, "paper", root).path == root / "paper-042"
    assert make_run_folder(None, "other", root).path == root / "other-001"


def test_an_empty_folder_is_taken_and_that_of_a_run_returned(tmp_path):
    folder = make_run_folder(str(tmp_path / "a" / "b"), "paper")
    assert make_run_folder(str(folder.path), "paper").path == folder.path
    folder.write_json("config.json", {"seed": 1})
    assert make_run_folder(str(folder.path), "paper").read_json("config.json") == {"seed": 1}


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"holds files but no run; found thesis\.tex"):
        make_run_folder(str(tmp_path), "paper")


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="run: not a folder; expected a folder"):
        make_run_folder(str(tmp_path / "run"), "paper")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_text("notes.txt", "old")

    def half(path):
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunFolderError, match=r"notes\.txt: cannot write: No space left on device\. Make space"):
        folder.write("notes.txt", half)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("notes.txt", "old")]


def test_rows_are_lines_of_json_and_half_a_line_is_none(tmp_path):
    folder, path = RunFolder(tmp_path), tmp_path / "metrics.jsonl"
    rows = [{"step": 0, "loss": 2.5}, {"step": 50, "loss": 0.1}]
    for row in rows:
        folder.append_row("metrics.jsonl", row)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows
    path.write_text(path.read_text() + '{"step": 100, "lo')  # killed while it was written
    assert folder.read_rows("metrics.jsonl", 2) == rows
    assert folder.read_rows("metrics.jsonl", 1) == rows[:1]
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl: rows are missing; expected 3 whole lines, found 2"):
        folder.read_rows("metrics.jsonl", 3)
    folder.write_rows("metrics.jsonl", rows[:1])
    folder.append_row("metrics.jsonl", rows[1])
    assert folder.read_rows("metrics.jsonl", 2) == rows


@pytest.mark.parametrize(("content", "message"), [("{", "damaged"), ("[1]", "expected an object, found a list")])
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"summary\.json: damaged") as caught:
        RunFolder(tmp_path).read_json("summary.json")
    assert message in str(caught.value)


def test_opening_what_is_no_run_names_the_runs_nearby(tmp_path):
    make_run_folder(str(tmp_path / "good-001"), "good").write_json("config.json", {})
    for name in ("bad", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(RunFolderError, match="good-001"):
            open_run_folder(str(tmp_path / name))


def test_rows_are_not_added_to_what_a_link_leads_to(tmp_path):
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(RunFolderError, match=r"run/metrics\.jsonl: cannot write: a symbolic link"):
        RunFolder(tmp_path / "run").append_row("metrics.jsonl", {"step": 0})
    assert (tmp_path / "precious").read_text() == "years of work"


def test_the_lock_does_not_empty_what_a_link_leads_to(tmp_path):
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    refused = pytest.raises(RunFolderError, match=r"run/\.lock: cannot write: a symbolic link")
    with refused, locked(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "years of work"


def test_leftovers_that_cannot_be_deleted_are_no_reason_not_to_write(tmp_path):
    for number in ("x", "9" * 30, "-1"):
        (tmp_path / f".summary.partial-{socket.gethostname()}-{number}.json").mkdir()
    RunFolder(tmp_path).write_json("summary.json", {"steps": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"steps": 1}

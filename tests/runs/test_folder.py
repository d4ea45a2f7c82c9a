"""A run's folder is made once, written whole, and never overwritten."""

import json

import pytest

from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder import RunFolder, create_run_folder, open_run_folder


def test_runs_are_numbered_after_the_largest_of_their_config(tmp_path):
    root = tmp_path / "runs"
    assert create_run_folder(None, "paper", root).path == root / "paper-001"
    (root / "paper-041").mkdir()
    (root / "paper-more-099").mkdir()
    assert create_run_folder(None, "paper", root).path == root / "paper-042"
    assert create_run_folder(None, "other", root).path == root / "other-001"


def test_an_empty_folder_is_taken_and_a_used_one_refused(tmp_path):
    folder = create_run_folder(str(tmp_path / "a" / "b"), "paper")
    assert create_run_folder(str(folder.path), "paper").path == folder.path
    folder.write_json("config.json", {"seed": 1})
    with pytest.raises(RunFolderError, match=r"already holds a run; found config\.json"):
        create_run_folder(str(folder.path), "paper")
    assert folder.read_json("config.json") == {"seed": 1}


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"not empty; found thesis\.tex"):
        create_run_folder(str(tmp_path), "paper")


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="run: a file stands there; expected a folder"):
        create_run_folder(str(tmp_path / "run"), "paper")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_text("notes.txt", "old")

    def half(path):
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunFolderError, match=r"notes\.txt: cannot write: No space left on device\. Make space"):
        folder.write("notes.txt", half)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("notes.txt", "old")]


def test_rows_are_lines_of_json(tmp_path):
    folder = RunFolder(tmp_path)
    rows = [{"step": 0, "loss": 2.5}, {"step": 50, "loss": 0.1}]
    for row in rows:
        folder.append_row("metrics.jsonl", row)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows


@pytest.mark.parametrize(("content", "message"), [("{", "damaged"), ("[1]", "expected a JSON object, found list")])
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"summary\.json: damaged") as caught:
        RunFolder(tmp_path).read_json("summary.json")
    assert message in str(caught.value)


def test_opening_what_is_no_run_names_the_runs_nearby(tmp_path):
    create_run_folder(str(tmp_path / "good-001"), "good").write_json("config.json", {})
    for name in ("bad", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(RunFolderError, match="good-001"):
            open_run_folder(str(tmp_path / name))

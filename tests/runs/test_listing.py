"""`flaxcnn runs`: what is complete, running, interrupted, diverged and damaged; filtered, sorted, as JSON; removed."""

import json
import os
import re
import shutil

import pytest

from flaxcnn.runs.folder.lock import locked


@pytest.fixture
def runs(tiny_run, tmp_path):
    """A folder with a run in each state, a study, and what is none of these."""
    root = tmp_path / "runs"
    for name in ("a_complete", "deep/b_interrupted", "c_diverged", "d_damaged", "e_running"):
        shutil.copytree(tiny_run, root / name)
    for name in ("deep/b_interrupted", "c_diverged", "e_running"):
        (root / name / "summary.json").unlink()
    (root / "c_diverged" / "crash").mkdir()
    (root / "d_damaged" / "summary.json").write_text((tiny_run / "summary.json").read_text()[:100])
    (root / "f_study" / "runs" / "small" / "seed-0").mkdir(parents=True)
    (root / "f_study" / "plan.json").write_text("{}")
    accuracy = {"values": [0.75, 0.85], "mean": 0.8, "over_seeds_95": [0.2, 1.4], "over_examples_95": [0.7, 0.9]}
    said = {"name": "f", "question": "", "metric": "accuracy", "data": {"source": "folder:x", "tested": 9}}
    said |= {"entries": {"small": {"metrics": {"accuracy": accuracy}}}, "verdict": {"winner": None, "best": ["small"]}}
    (root / "f_study" / "study.json").write_text(json.dumps(said))
    shutil.copytree(tiny_run, root / "f_study" / "runs" / "small" / "seed-0", dirs_exist_ok=True)
    (root / "thesis").mkdir()
    (root / "thesis" / "thesis.tex").write_text("precious")
    (root / "link").symlink_to(tiny_run)
    return root


def found(flaxcnn, root, *more):
    done = flaxcnn("runs", root, "--json", *more)
    assert done.returncode == 0, done.stderr
    return {os.path.relpath(each["path"], root): each for each in json.loads(done.stdout)}


def test_each_run_has_its_state_and_its_numbers(flaxcnn, runs, tiny_run):
    with locked(runs / "e_running"):
        listed = found(flaxcnn, runs)
        table = flaxcnn("runs", runs).stdout
    assert {name: each["state"] for name, each in listed.items()} == {
        "a_complete": "complete",
        "c_diverged": "diverged",
        "d_damaged": "damaged",
        "deep/b_interrupted": "interrupted",
        "e_running": "running",
        "f_study": "complete",
    }
    summary, whole = json.loads((tiny_run / "summary.json").read_text()), listed["a_complete"]
    assert whole["value"] == summary["test_accuracy"]
    assert whole["interval"] == summary["test_accuracy_interval_95"]
    assert whole["seconds"] == summary["total_seconds"]
    assert (whole["metric"], whole["model"], whole["task"]) == ("accuracy", "paper_cnn", "classification")
    assert whole["bytes"] == sum(path.stat().st_size for path in (runs / "a_complete").rglob("*") if path.is_file())
    study = listed["f_study"]
    assert (study["kind"], study["model"], study["value"], study["interval"]) == ("a study", "small", 0.8, [0.7, 0.9])
    assert "summary.json" in listed["d_damaged"]["fault"]
    lines = table.splitlines()
    assert len(lines) == 7
    assert re.search(r"e_running +run +running", table)
    assert f"accuracy {summary['test_accuracy']:.4f} (" in lines[0]
    assert lines[-1].startswith("6 in all: 2 complete, 1 diverged, 1 damaged, 1 interrupted, 1 running; ")


def test_they_are_filtered_and_sorted(flaxcnn, runs):
    os.utime(runs / "deep" / "b_interrupted" / "config.json", (4e9, 4e9))
    assert list(found(flaxcnn, runs, "--where", "state=interrupted", "path=deep")) == ["deep/b_interrupted"]
    assert list(found(flaxcnn, runs, "--where", "model=resnet")) == []
    assert next(iter(found(flaxcnn, runs, "--sort", "modified"))) == "deep/b_interrupted"
    assert list(found(flaxcnn, runs, "--sort", "value"))[:2] == ["f_study", "a_complete"]


@pytest.mark.slow
def test_removing_takes_whole_runs_and_nothing_else(flaxcnn, runs):
    before = sorted(runs.rglob("*"))
    with locked(runs / "e_running"):
        for name, said in (
            ("e_running", "a process works in this folder"),
            ("thesis", "cannot be removed"),
            ("deep", "cannot be removed"),
            ("link", "a link to a folder"),
            ("nowhere", "found nothing"),
        ):
            refused = flaxcnn("runs", "--remove", runs / "a_complete", runs / name, "--yes")
            assert refused.returncode == 2
            assert said in refused.stderr
            assert refused.stderr.count("\n") == 1
    unasked = flaxcnn("runs", "--remove", runs / "a_complete")
    assert unasked.returncode == 2
    assert "add --yes" in unasked.stderr.lower()
    assert sorted(runs.rglob("*")) == before
    done = flaxcnn("runs", "--remove", runs / "a_complete", runs / "f_study", "--yes")
    assert done.returncode == 0, done.stderr
    gone = {runs / "a_complete", runs / "f_study"}
    assert sorted(runs.rglob("*")) == [each for each in before if not gone & {each, *each.parents}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs", "nowhere"], "no such folder"),
        (["runs", ".", "--where", "stat=x"], "Did you mean 'state'"),
        (["runs", ".", "--where", "state"], "FIELD=TEXT"),
        (["runs", ".", "--sort", "age"], "--sort"),
    ],
)
def test_a_mistake_is_one_line(flaxcnn, words, said):
    done = flaxcnn(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1

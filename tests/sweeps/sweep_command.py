"""The sweep command as a process, and what it leaves."""

import csv
import json
import subprocess
import sys
from collections import Counter

ENDED = ("complete", "stopped", "failed")


def start(environment, folder, *words):
    """The command as a process in a folder, in a session of its own."""
    words = [sys.executable, "-m", "flaxcnn", "sweep", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True, **pipes)


def events(folder):
    """All lines of the journal in the order of time, each with the process that wrote it."""
    lines = []
    for file in (folder / "journal").glob("*.jsonl"):
        pid = int(file.stem.split("-")[-2])
        lines += [{**json.loads(line), "pid": pid} for line in file.read_text().splitlines()]
    return sorted(lines, key=lambda line: line["time"])


def training(folder, pid, until=0):
    """The trials that a process has begun and reported of no step beyond `until`: to be killed in the midst of one."""
    last = {line["trial"]: line for line in events(folder) if line["pid"] == pid}
    return [
        trial
        for trial, line in last.items()
        if line["event"] in ("added", "claimed", "adopted") or (line["event"] == "reported" and line["step"] <= until)
    ]


def assert_each_trial_ended_once(folder, count, killed=0):
    """By the journal, in which a killed process may have left out the last thing that it did, no trial ran twice."""
    lines = events(folder)
    added = Counter(line["trial"] for line in lines if line["event"] == "added")
    rungs = Counter((line["trial"], line["score"]) for line in lines if line["event"] in ("paused", "complete"))
    ended = Counter(line["trial"] for line in lines if line["event"] in ENDED)
    assert set(rungs.values()) == {1}
    for once in (added, ended):
        assert set(once.values()) == {1}
        assert set(once) <= set(range(count))
    assert 2 * count - len(added) - len(ended) <= killed


def kept(folder, name="search", url=None):
    """The study as Optuna reads it, but for times and processes."""
    import optuna

    study = optuna.load_study(study_name=name, storage=url or f"sqlite:///{folder}/study.db")
    return [
        (
            trial.number,
            trial.state.name,
            trial.params,
            trial.value,
            trial.intermediate_values,
            trial.user_attrs["progress"]["scores"],
        )
        for trial in study.trials
    ]


def rows(folder):
    """The lines of `sweep.csv`."""
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))

"""The sweep command as a process, and what it leaves."""

import csv
import json
import subprocess
import sys


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

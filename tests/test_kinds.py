"""A folder that another command made is answered with the command that it is for."""

import pytest

from tests.many_commands import answers


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind, by the files that tell its kind; what else such a folder holds is not looked at."""
    root = tmp_path_factory.mktemp("kinds")
    files = {
        "run": [".lock", "config.json"],
        "copied": ["config.json"],
        "diverged": [".lock", "config.json", "crash/config.json", "crash/step.json"],
        "sweep": ["sweep.json", "study.db", "best.py"],
        "begun": ["sweep.json", "study.db"],
        "study": [".lock", "plan.json", "study.json", "runs/small/seed-0/config.json"],
        "seeds": ["seed-000/config.json", "seed-001/config.json"],
        "judged": ["seed-000/.lock", "reproduce.json"],
        "other": ["thesis.tex"],
    }
    for folder, names in files.items():
        for name in names:
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_text("precious")
    (root / "file").write_text("precious")
    return root


RESUME, REPLAY = "flaxcnn resume {}", "flaxcnn replay {}/crash"
SWEEP, BEST = "flaxcnn sweep CONFIG --out {}", "flaxcnn train {}/best.py"
SEEDS, SEED = "flaxcnn reproduce CONFIG --out {}", "{}/seed-000"

REFUSED = [
    *((command, "sweep", "the folder of a sweep, not of a run", SWEEP, BEST) for command in ("resume", "evaluate")),
    ("resume", "begun", "the folder of a sweep, not of a run", SWEEP),
    ("resume", "diverged/crash", "the folder of a crash, not of a run", "flaxcnn replay {}"),
    ("evaluate", "diverged/crash", "the folder of a crash, not of a run", "flaxcnn replay {}"),
    *((command, "seeds", "the folder of runs with several seeds", SEEDS, SEED) for command in ("resume", "evaluate")),
    ("evaluate", "judged", "the folder of runs with several seeds", SEEDS, SEED),
    ("compare sweep", "sweep", "the folder of a sweep, not of a run", BEST),
    ("compare diverged/crash", "run", "the folder of a crash, not of a run"),
    ("evaluate", "study", "the folder of a study, not of a run", "flaxcnn study FILE SOURCE --out {}", "{}/runs"),
    ("evaluate", "other", "not a run folder", "flaxcnn train made"),
    ("evaluate", "file", "no such run folder; found a file"),
    ("replay", "run", "this run left no crash"),
    ("replay", "diverged", "the folder of a run, not of its crash", REPLAY),
    ("replay", "sweep", "the folder of a sweep, not of a crash", SWEEP),
    ("replay", "seeds", "the folder of runs with several seeds, not of a crash", SEEDS),
    ("replay", "other", "not a crash folder", "RUN/crash"),
    *(
        (command, "run", "the folder of a run, not a config", RESUME)
        for command in ("train", "reproduce", "sweep", "lr-find", "sweep --search")
    ),
    *((command, "sweep", "the folder of a sweep, not a config", SWEEP, BEST) for command in ("train", "sweep")),
    ("train", "diverged/crash", "the folder of a crash, not a config", "flaxcnn replay {}"),
    ("reproduce", "seeds", "the folder of runs with several seeds, not a config", SEEDS),
    ("train", "other/", "neither a config nor data"),
    ("train --data.source SMALL --out", "sweep", "holds a sweep; expected a run or nothing. Name another --out"),
    ("train --data.source SMALL --out", "diverged/crash", "holds a crash; expected a run or nothing"),
    ("train --data.source SMALL --out", "seeds", "holds runs with several seeds; expected a run or nothing"),
    ("sweep --data.source SMALL --out", "run", "holds a run, no sweep. Name another --out"),
    ("sweep --data.source SMALL --out", "seeds", "holds runs with several seeds, no sweep"),
    ("sweep --data.source SMALL --out", "other", "holds files but no sweep"),
    ("reproduce --out", "run", "holds a run; expected runs with several seeds. Name another --out"),
    ("reproduce --out", "sweep", "holds a sweep; expected runs with several seeds"),
]


def test_a_folder_of_another_kind_is_answered_with_the_command_that_it_is_for(
    folders, command_environment, small_mnist
):
    before = {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()}
    commands = [
        [*(word.replace("SMALL", f"idx:{small_mnist}") for word in command.split()), folder]
        for command, folder, *_ in REFUSED
    ]
    results = answers(command_environment, folders, commands)
    for (command, folder, *parts), result in zip(REFUSED, results, strict=True):
        said = result["said"]
        assert (result["code"], said.count("\n")) == (2, 1), said
        for part in parts:  # `python -m flaxcnn resume` ends as `flaxcnn resume` does
            assert part.replace("{}", folder) in said, f"{command} {folder}: {said}"
    assert {path: path.read_bytes() for path in folders.rglob("*") if path.is_file()} == before

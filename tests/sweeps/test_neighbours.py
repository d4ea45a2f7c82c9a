"""Sweep files that import what stands beside them, trained in other processes, which do not find that."""

import pytest

from tests.sweeps.sweep_command import rows

pytestmark = pytest.mark.sweeps

RATES = '{"optimizer.learning_rate": Float(LOW, 1e-2, log=True)}'


@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_other_processes_train_what_a_sweep_file_made_with_its_neighbours(executor, flaxcnn, sweep_file, tmp_path):
    (tmp_path / "common.py").write_text("LOW = 1e-4\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "common.py").write_text("TRIALS = 2\n")
    sweep_file(
        "from common import LOW\nexperiment = replace(experiment, training=Training(steps=4))\n".join(
            ["from dataclasses import replace\n", ""]
        )
    )
    (tmp_path / "other" / "space.py").write_text(
        "from common import TRIALS\nfrom flaxcnn.sweeps import *\n"
        'sweep = Sweep(space={"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}, trials=TRIALS)\n'
    )
    words = ("sweep", "search.py", "--search", "other/space.py", "--out", "out", "--workers", 1)
    done = flaxcnn(*words, "--executor", executor)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(tmp_path / "out")] == ["complete"] * 2


def test_a_class_of_ones_own_is_refused_where_other_processes_would_have_to_read_it(flaxcnn, sweep_file, tmp_path):
    (tmp_path / "common.py").write_text("from flaxcnn.sweeps import Random\n\nclass Mine(Random):\n    pass\n")
    sweep_file(f"from common import Mine\nLOW = 1e-4\nsweep = Sweep(space={RATES}, searcher=Mine(), trials=2)")
    done = flaxcnn("sweep", "search.py", "--executor", "processes", "--out", "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--executor processes: the sweep holds what other processes cannot read" in done.stderr

"""Whole sweeps by the real command: what a user starts, breaks off, kills, and starts again."""

import json
import os
import random
import signal
import time
from collections import Counter

import jax
import numpy as np
import pytest

from flaxcnn.config import load_experiment
from flaxcnn.runs.setup import set_up
from flaxcnn.training.checkpoints import CheckpointStore
from tests.sweeps.sweep_command import assert_each_trial_ended_once, events, kept, rows, start

KILLS = int(os.environ.get("FLAXCNN_KILLS", 3))

pytestmark = pytest.mark.sweeps

RATES = '{"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}'


def test_a_sweep_leaves_a_config_that_train_accepts_and_repeats(flaxcnn, sweep_file, tmp_path):
    """The best trial, promoted twice from disk, has the bits of a run that was never paused."""
    path = sweep_file(f"sweep = Sweep(space={RATES}, scheduler=SuccessiveHalving(), trials=9)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert found.returncode == 0, found.stderr
    out = tmp_path / "out"
    table = rows(out)
    assert Counter(row["status"] for row in table) == {"stopped": 8, "complete": 1}
    # 9 trials to 2 of 18 steps, 3 of them to 6, 1 of them to the end.
    assert Counter(row["steps"] for row in table) == {"2": 6, "6": 2, "18": 1}
    assert "compiled  1 training program " in found.stdout
    best = next(row for row in table if row["status"] == "complete")
    experiment = load_experiment(str(out / "best.py")).experiment
    assert experiment.optimizer.learning_rate == float(best["optimizer.learning_rate"])
    assert experiment.training.epochs == 1
    for name in ("learning_curves", "parallel_coordinates", "hyperparameters"):
        assert (out / f"{name}.png").stat().st_size > 5000

    trained = flaxcnn("train", out / "best.py", "--out", "straight")
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((tmp_path / "straight" / "summary.json").read_text())
    assert summary["validation_accuracy"] == float(best["validation_accuracy"])
    target = set_up(experiment).state_target()
    paused = CheckpointStore(out / "trials" / f"{int(best['number']):05d}" / "checkpoints").restore(18, target).state
    straight = CheckpointStore(tmp_path / "straight" / "checkpoints").restore(18, target).state
    for ours, theirs in zip(jax.tree.leaves(paused), jax.tree.leaves(straight), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_killed_at_random_instants_it_ends_with_the_study_of_an_uninterrupted_sweep(
    command_environment, sweep_file, tmp_path
):
    """Sequential search whose proposals follow from the results, paused and promoted: no trial lost or run twice."""
    path = sweep_file(f"sweep = Sweep(space={RATES}, searcher=TPE(startup=4), scheduler=ASHA(), trials=9)", epochs=2)
    whole = start(command_environment, tmp_path, path, "--out", "whole", "--executor", "map")
    _, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    seed = int(os.environ.get("FLAXCNN_KILL_SEED", time.time_ns() % 10**9))
    print(f"FLAXCNN_KILL_SEED={seed}")
    instants, kills = random.Random(seed), 0
    while True:
        process = start(command_environment, tmp_path, path, "--out", "killed", "--executor", "map")
        before = len(events(tmp_path / "killed"))
        deadline = time.monotonic() + 120
        # From the first event of this process on, so that each gets somewhere.
        while process.poll() is None and len(events(tmp_path / "killed")) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(instants.uniform(0, 1.5))
        if process.poll() is None and kills < KILLS:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        break
    assert kills > 0
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")
    assert_each_trial_ended_once(tmp_path / "killed", 9, killed=kills)


def test_ctrl_c_leaves_a_sweep_that_the_same_command_goes_on_with(command_environment, sweep_file, tmp_path):
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=4)", epochs=40)
    process = start(command_environment, tmp_path, path, "--out", "out", "--executor", "map", "--parallel", 2)
    while process.poll() is None and not any(line["event"] == "reported" for line in events(tmp_path / "out")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - began < 10
    assert "continue with the same command" in printed
    released = [line["trial"] for line in events(tmp_path / "out") if line["event"] == "released"]
    assert released == [0, 1]
    shorter = path.read_text().replace("epochs=40", "epochs=41")
    other = tmp_path / "other.py"
    other.write_text(shorter)
    refused = start(command_environment, tmp_path, other, "--out", "out", "--executor", "map")
    _, errors = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert errors.count("\n") == 1


def test_a_trial_that_is_not_finite_fails_and_the_sweep_goes_on(flaxcnn, sweep_file, tmp_path):
    settings = ", ".join(f'{{"optimizer.learning_rate": {rate}}}' for rate in (1e-3, 3e38, 2e-3))
    space = '{"optimizer.learning_rate": Float(1e-4, 3e38, log=True)}'
    path = sweep_file(f"sweep = Sweep(space={space}, searcher=Listed(({settings})), trials=3)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert found.returncode == 0, found.stderr
    assert [row["status"] for row in rows(tmp_path / "out")] == ["complete", "failed", "complete"]
    assert "not finite" in rows(tmp_path / "out")[1]["reason"]
    assert "trial 1 failed: step" in found.stdout


def test_where_every_trial_fails_each_reason_is_listed_and_the_exit_code_is_not_0(flaxcnn, sweep_file):
    settings = '{"optimizer.learning_rate": 3e38}, {"training.batch_size": 2000}'
    space = '{"optimizer.learning_rate": Float(1e-4, 3e38, log=True), "training.batch_size": Int(10, 2000)}'
    path = sweep_file(f"sweep = Sweep(space={space}, searcher=Listed(({settings})), trials=2)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert found.returncode == 1
    assert "failed: trial 0: step" in found.stdout
    assert "failed: trial 1: training.batch_size: batch larger than the data" in found.stdout
    assert found.stderr.count("\n") == 1
    assert "no trial could be trained to its end" in found.stderr


def test_trials_of_other_shapes_have_programs_of_their_own_which_are_counted(flaxcnn, sweep_file):
    space = '{"training.batch_size": Choice(25, 50), "optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}'
    path = sweep_file(f"sweep = Sweep(space={space}, searcher=Grid(points=3), trials=99)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert found.returncode == 0, found.stderr
    assert "search: 6 trials" in found.stdout  # a grid has an end
    assert "compiled  2 training programs" in found.stdout


def test_population_based_training_copies_the_best_and_says_by_which_way(flaxcnn, sweep_file, tmp_path):
    scheduler = "PopulationBased(generations=3, replaced=0.25)"
    path = sweep_file(f"sweep = Sweep(space={RATES}, scheduler={scheduler}, trials=4)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert found.returncode == 0, found.stderr
    table = rows(tmp_path / "out")
    copies = [row for row in table if row["parent"]]
    assert len(copies) == 2  # one of four after each generation but the last
    assert Counter(row["status"] for row in table) == {"complete": 4, "stopped": 2}
    for copy in copies:
        rate, parent = float(copy["optimizer.learning_rate"]), table[int(copy["parent"])]
        assert 1e-4 <= rate <= 1e-2
        assert rate != float(parent["optimizer.learning_rate"])
    refused = flaxcnn("sweep", path, "--out", "out", "--confirm", 2)
    assert refused.returncode == 2
    assert "--confirm" in refused.stderr


def test_confirmation_trains_the_best_and_the_base_with_the_same_fresh_seeds(flaxcnn, sweep_file, tmp_path):
    path = sweep_file(f"sweep = Sweep(space={RATES}, searcher=Sobol(), scheduler=ASHA(), trials=9)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map", "--confirm", 2, "--confirm_seeds", 3)
    assert found.returncode == 0, found.stderr
    report = (tmp_path / "out" / "confirm.md").read_text()
    assert "the same 3 fresh seeds" in report
    (folder,) = (tmp_path / "out").glob("confirm-*")
    again = kept(tmp_path / "out", f"search-{folder.name}")
    assert [params["training.seed"] for _, _, params, *_ in again] == [1, 2, 3] * 3  # the base's, and two settings'
    assert [state for _, state, *_ in again] == ["COMPLETE"] * 9
    complete = [row for row in rows(tmp_path / "out") if row["status"] == "complete"]
    assert again[3][2]["optimizer.learning_rate"] == float(complete[0]["optimizer.learning_rate"])
    # The same command again has nothing left to train.
    before = len(events(tmp_path / "out"))
    repeated = flaxcnn("sweep", path, "--out", "out", "--executor", "map", "--confirm", 2, "--confirm_seeds", 3)
    assert repeated.returncode == 0, repeated.stderr
    assert len(events(tmp_path / "out")) == before
    assert (tmp_path / "out" / "confirm.md").read_text() == report
    # Nor does one without the confirmation put the best of noisy trials in the place of what was confirmed.
    best = (tmp_path / "out" / "best.py").read_text()
    unconfirmed = flaxcnn("sweep", path, "--out", "out", "--executor", "map")
    assert unconfirmed.returncode == 0, unconfirmed.stderr
    assert (tmp_path / "out" / "best.py").read_text() == best


def test_where_the_configs_own_setting_is_confirmed_to_be_best_the_best_config_is_it(flaxcnn, sweep_file, tmp_path):
    """Rates that train nothing lose to the config's 0.001."""
    space = '{"optimizer.learning_rate": Float(1e-9, 1e-8, log=True)}'
    path = sweep_file(f"sweep = Sweep(space={space}, trials=2)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "map", "--confirm", 1, "--confirm_seeds", 2)
    assert found.returncode == 0, found.stderr
    assert "The best mean is that of the config's own setting, which best.py holds." in found.stdout
    source = tmp_path / "out" / "best.py"
    assert load_experiment(str(source)).experiment == load_experiment(str(path)).experiment
    assert "The config's own setting, which the best of the sweep search do not surpass: validation accuracy" in (
        source.read_text()
    )


def test_without_its_damaged_study_a_sweep_goes_on_from_the_checkpoints(flaxcnn, sweep_file, tmp_path):
    path = sweep_file(f"sweep = Sweep(space={RATES}, searcher=Sobol(), scheduler=ASHA(), trials=9)")
    command = ("sweep", path, "--out", "out", "--executor", "map")
    assert flaxcnn(*command).returncode == 0
    found = [(row["number"], row["status"], row["validation_accuracy"]) for row in rows(tmp_path / "out")]
    written = {path: path.stat().st_ino for path in (tmp_path / "out" / "trials").glob("*/checkpoints/step-*")}
    for file in (tmp_path / "out").glob("study.db-*"):
        file.unlink()
    (tmp_path / "out" / "study.db").write_bytes(b"not a database" * 1000)
    refused = flaxcnn(*command)
    assert refused.returncode == 2
    assert "Move the file away" in refused.stderr
    (tmp_path / "out" / "study.db").rename(tmp_path / "damaged.db")
    again = flaxcnn(*command)
    assert again.returncode == 0, again.stderr
    assert [(row["number"], row["status"], row["validation_accuracy"]) for row in rows(tmp_path / "out")] == found
    again = {path: path.stat().st_ino for path in (tmp_path / "out" / "trials").glob("*/checkpoints/step-*")}
    assert again == written  # none was trained again


def test_several_processes_end_with_the_trials_of_one(flaxcnn, sweep_file, tmp_path):
    path = sweep_file(f"sweep = Sweep(space={RATES}, scheduler=SuccessiveHalving(), trials=9)")
    for out, options in (("one", ("--executor", "map")), ("two", ("--executor", "processes", "--workers", 2))):
        found = flaxcnn("sweep", path, "--out", out, *options)
        assert found.returncode == 0, found.stderr
    one, two = ({row["number"]: row for row in rows(tmp_path / out)} for out in ("one", "two"))
    for name in ("status", "validation_accuracy", "optimizer.learning_rate", "steps"):
        assert {n: row[name] for n, row in one.items()} == {n: row[name] for n, row in two.items()}
    assert len(list((tmp_path / "two" / "journal").iterdir())) == 2


def test_a_folder_that_outlives_its_study_gives_no_trial_the_state_of_another(flaxcnn, sweep_file, tmp_path):
    """The database is lost, and the same command begins again: beside checkpoints of trials of the same numbers."""
    one = sweep_file(f"sweep = Sweep(space={RATES}, searcher=TPE(startup=1), scheduler=SuccessiveHalving(), trials=3)")
    for out in ("lost", "new"):
        assert flaxcnn("sweep", one, "--out", out, "--executor", "map", "--parallel", 1).returncode == 0
    for file in (tmp_path / "lost").glob("study.db*"):
        file.unlink()
    for out in ("lost", "new2"):  # with other proposals, since none waits for the results of others
        found = flaxcnn("sweep", one, "--out", out, "--executor", "map", "--parallel", 3)
        assert found.returncode == 0, found.stderr
    assert kept(tmp_path / "lost") == kept(tmp_path / "new2") != kept(tmp_path / "new")


def test_images_that_do_not_fit_the_device_are_searched_a_trial_at_a_time_with_the_same_scores(
    flaxcnn, sweep_file, tmp_path
):
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=2)")
    for out, options in (("fits", ()), ("streamed", ("--data.device_memory", 0))):
        found = flaxcnn("sweep", path, "--out", out, "--executor", "map", *options)
        assert found.returncode == 0, found.stderr
    assert kept(tmp_path / "fits") == kept(tmp_path / "streamed")
    assert "compiled  2 training programs" in found.stdout


def test_workers_that_were_ended_from_outside_are_no_finished_sweep(command_environment, sweep_file, tmp_path):
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=2)", epochs=200)
    sweep = start(command_environment, tmp_path, path, "--out", "out", "--executor", "processes", "--workers", 2)
    while (
        sweep.poll() is None
        and len({line["pid"] for line in events(tmp_path / "out") if line["event"] == "reported"}) < 2
    ):
        time.sleep(0.1)
    for pid in {line["pid"] for line in events(tmp_path / "out")}:
        os.kill(pid, signal.SIGTERM)
    _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    assert "all workers ended before the sweep was done" in errors
    assert not (tmp_path / "out" / "best.py").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", 2), "--workers: no effect with one process"),
        (("--data.validation", 0), "data.validation: no images to rank trials by"),
        (("--trials", 0), "sweep.trials: out of range"),
        (("--training.patience", 3), "training.patience: the scheduler says when a trial ends"),
        (("--storage", "postgresql+psycopg://nobody@127.0.0.1:9/none"), "the storage failed"),
        (("--storage", "no url"), "--storage: is not a URL"),
        (("--search", "paper_mnist"), "paper_mnist: no sweep in this file"),
        (("--searcher", "annealing"), "--searcher"),
        (("--confirm_seeds", 1), "--confirm_seeds: out of range"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(flaxcnn, sweep_file, tmp_path, words, said):
    path = sweep_file(f"sweep = Sweep(space={RATES})")
    found = flaxcnn("sweep", path, "--out", "out", *words)
    assert found.returncode == 2, found.stdout
    assert found.stderr.count("\n") == 1
    assert said in found.stderr
    assert not (tmp_path / "out" / "trials").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'sweep = Sweep(space={"optimizer.lerning_rate": Float(1e-4, 1e-2)})',
            "Did you mean 'optimizer.learning_rate'?",
        ),
        ('sweep = Sweep(space={"optimizer.learning_rate": Float(-1.0, 1e-2)})', "out of range"),
        ("sweep = Sweep(space={})", "nothing to search"),
        ('sweep = Sweep(space={"data.validation": Float(0.1, 0.2)})', "cannot be compared"),
        ('sweep = Sweep(space={"model.dropout": Choice(None, 0.5)}, scheduler=PopulationBased())', "a copy cannot"),
        (f'sweep = Sweep(space={RATES}, metric="test_accuracy")', "test images are not chosen by"),
        (f"sweep = Sweep(space={RATES}, searcher=Listed(({{}}, {{'model.dropout': 0.5}})))", "is not searched"),
        (f"sweep = Sweep(space={RATES}, searcher=Listed((0.001,)))", "Listed.settings: wrong type"),
    ],
)
def test_a_search_that_cannot_be_made_is_one_line(flaxcnn, sweep_file, text, said):
    found = flaxcnn("sweep", sweep_file(text), "--out", "out")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert said in found.stderr

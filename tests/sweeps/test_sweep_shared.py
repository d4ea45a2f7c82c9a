"""Sweeps that several processes share, of which one is killed: on a PostgreSQL server, and on a Ray cluster."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter

import pytest

from tests.sweeps.sweep_command import assert_each_trial_ended_once, events, kept, rows, start, training

pytestmark = pytest.mark.sweeps

RATES = '{"optimizer.learning_rate": Float(1e-4, 1e-2, log=True)}'
PATIENCE = 300  # seconds


def wait_until(holds, processes):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.02)


def test_four_processes_on_one_server_train_40_trials_once_each_though_one_is_killed(
    command_environment, new_postgresql_database, sweep_file, tmp_path
):
    url, out = new_postgresql_database(), tmp_path / "out"
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=40)")
    words = (path, "--out", "out", "--storage", url, "--executor", "map", "--parallel", 1)
    workers = [start(command_environment, tmp_path, *words) for _ in range(4)]
    victim = workers[0]
    wait_until(lambda: len({line["pid"] for line in events(out)}) == 4, workers)
    wait_until(lambda: training(out, victim.pid), workers)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    (orphan,) = training(out, victim.pid)
    for worker in workers[1:]:
        _, errors = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0, errors
    trials = kept(out, url=url)
    assert [number for number, *_ in trials] == list(range(40))
    assert {state for _, state, *_ in trials} == {"COMPLETE"}
    assert Counter(line["trial"] for line in events(out) if line["event"] == "complete") == dict.fromkeys(range(40), 1)
    taken_over = [line for line in events(out) if line["event"] == "adopted" and line["trial"] == orphan]
    assert [line["pid"] != victim.pid for line in taken_over] == [True]
    assert len({line["pid"] for line in events(out) if line["event"] == "complete"}) >= 3
    assert len(rows(out)) == 40


def test_on_a_ray_cluster_that_loses_a_node_every_trial_ends_as_on_one_machine(
    flaxcnn, command_environment, sweep_file, tmp_path
):
    from ray.cluster_utils import Cluster

    path = sweep_file(f"sweep = Sweep(space={RATES}, scheduler=SuccessiveHalving(), trials=9)", epochs=4)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        environment = {**command_environment, "RAY_ADDRESS": cluster.address}
        words = (path, "--out", "out", "--executor", "ray")
        sweep = start(environment, tmp_path, *words)
        wait_until(lambda: sum(line["event"] == "paused" for line in events(tmp_path / "out")) >= 2, [sweep])
        cluster.remove_node(nodes[0], allow_graceful=False)
        _, errors = sweep.communicate(timeout=PATIENCE)
        assert sweep.returncode == 0, errors
    finally:
        cluster.shutdown()
    alone = flaxcnn("sweep", path, "--out", "alone", "--executor", "map")
    assert alone.returncode == 0, alone.stderr
    assert kept(tmp_path / "out") == kept(tmp_path / "alone")
    assert_each_trial_ended_once(tmp_path / "out", 9)


def test_a_ray_cluster_without_room_for_a_task_is_one_line(flaxcnn, sweep_file):
    path = sweep_file(f"sweep = Sweep(space={RATES}, trials=2)")
    found = flaxcnn("sweep", path, "--out", "out", "--executor", "ray", "--ray.cpus", 4096)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "no node of the Ray cluster has room for a task" in found.stderr


ON_RAY = """
import os, stat, subprocess, sys, tempfile
from pathlib import Path
from flaxcnn.sweeps.execution.ray_cluster import cluster
from tests.listening import listening

STRANGER = "import os, ray; ray.init(address=os.environ['HEAD'], log_to_driver=False)"
if __name__ == "__main__":
    with cluster(None) as ray:
        class Actor:
            def here(self):
                return True
        actor = ray.remote(num_cpus=0)(Actor).remote()
        assert ray.get([actor.here.remote(), ray.remote(num_cpus=1)(lambda: True).remote()]) == [True, True]
        print(*sorted(listening(os.getpid())))
        private = Path(os.environ["RAY_TMPDIR"])
        print(*[oct(stat.S_IMODE(each.stat().st_mode)) for each in private.iterdir()])
        if tuple(map(int, ray.__version__.split(".")[:2])) >= (2, 52):
            told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
            told |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "HOME": os.environ["RAY_TMPDIR"]}
            told |= {"HEAD": ray.get_runtime_context().gcs_address}
            strangers = [
                subprocess.Popen([sys.executable, "-c", STRANGER], env=told | mode, stderr=subprocess.PIPE, text=True)
                for mode in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64})
            ]
            for each in strangers:
                said = each.communicate()[1]
                assert each.returncode == 1 and "Failed to connect to Ray cluster" in said, said
    print(list(private.iterdir()), [name for name in os.environ if name.startswith("RAY_AUTH")])
"""


def test_ray_started_here_listens_on_the_loopback_asks_for_a_token_and_lets_no_other_user_to_its_sockets(
    command_environment, tmp_path
):
    with tempfile.TemporaryDirectory(dir="/tmp") as private:  # sockets' names are to be short
        environment = {**command_environment, "RAY_TMPDIR": private}
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            environment.pop(name, None)
        found = subprocess.run(
            [sys.executable, "-c", ON_RAY], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["127.0.0.1", "0o700", "[] []"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_on_ray_it_goes_on_from_the_last_checkpoints_without_ray_too(
    flaxcnn, command_environment, sweep_file, tmp_path, number, code
):
    """Tasks report while they train; those of a stopped sweep train no further, and their trials wait for the next."""
    path, out = sweep_file(f"sweep = Sweep(space={RATES}, trials=2)", epochs=8), tmp_path / "out"
    sweep = start(command_environment, tmp_path, path, "--out", "out", "--executor", "ray", "--workers", 2)
    wait_until(lambda: all(checkpoints(out, trial) for trial in range(2)), [sweep])
    wait_until(lambda: {line["trial"] for line in events(out) if line["event"] == "reported"} == {0, 1}, [sweep])
    sweep.send_signal(number)
    printed, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == code, errors
    assert "continue with the same command" in printed
    assert [line["trial"] for line in events(out) if line["event"] == "released"] == [0, 1]
    left = [checkpoints(out, trial) for trial in range(2)]
    assert all(max(steps) < 144 for steps in left)
    time.sleep(3)  # a checkpoint comes twice a second
    assert [checkpoints(out, trial) for trial in range(2)] == left

    for folder in ("out", "alone"):
        found = flaxcnn("sweep", path, "--out", folder, "--executor", "map")
        assert found.returncode == 0, found.stderr
    assert kept(out) == kept(tmp_path / "alone")
    assert Counter(line["trial"] for line in events(out) if line["event"] == "complete") == {0: 1, 1: 1}


def checkpoints(folder, trial):
    """The steps of a trial's whole checkpoints."""
    return [int(path.name[5:]) for path in (folder / "trials" / f"{trial:05d}" / "checkpoints").glob("step-*")]

"""Processes of a run join, agree, and end together with one clear line when one of them fails or is lost."""

import contextlib
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from flaxcnn import processes
from flaxcnn.errors import ConfigError, FlaxcnnError
from flaxcnn.processes import Processes, connections
from flaxcnn.processes.messages import write
from flaxcnn.processes.options import split_address
from tests.many_processes import line_of

pytestmark = pytest.mark.devices

AGREE_SECONDS = 60  # in which all have to end once one is lost


# Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"count": 2}, "processes.coordinator: missing. Give all of"),
        ({"coordinator": "host:1", "count": 2}, "processes.index: missing"),
        (
            {"coordinator": "host:1", "count": 0, "index": 0},
            "processes.count: out of range; expected at least 1, found 0",
        ),
        ({"coordinator": "host:1", "count": 2, "index": 2}, "processes.index: out of range; expected 0 to 1"),
        ({"coordinator": "host:1", "count": 2, "index": -1}, "processes.index: out of range"),
        (
            {"coordinator": "host", "count": 2, "index": 0},
            "processes.coordinator: not an address with a port; expected HOST:PORT",
        ),
        ({"coordinator": ":80", "count": 2, "index": 0}, "found ':80'"),
        ({"coordinator": "host:65536", "count": 2, "index": 0}, "a port from 1 to 65535"),
        ({"coordinator": "host:²", "count": 2, "index": 0}, "a port from 1 to 65535"),
        ({"auto": True, "count": 2}, "processes.count: given twice"),
        ({"secret_file": "secret"}, "processes.secret_file: no effect with one process"),
        ({"listen": "0.0.0.0"}, "processes.listen: no effect with one process"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, told):
    with pytest.raises(ConfigError) as caught:
        Processes(**options)
    assert told in str(caught.value)


def test_a_host_may_be_a_name_or_an_address_of_either_kind():
    assert split_address("node001:8476") == ("node001", 8476)
    assert split_address("10.0.0.1:1") == ("10.0.0.1", 1)
    assert split_address("[::1]:65535") == ("::1", 65535)


def test_auto_without_a_cluster_is_told():
    with pytest.raises(ConfigError, match=r"processes\.auto: JAX finds no cluster here"):
        processes.join(Processes(auto=True))


# One process


def test_alone_every_function_does_its_work_and_nothing_is_started():
    processes.join(Processes())
    processes.join(Processes("127.0.0.1:1", 1, 0))
    threads = threading.active_count()
    assert (processes.count(), processes.index(), processes.is_first()) == (1, 0, True)
    value = (1, object())
    assert processes.share(value) is value
    assert processes.together(lambda: value) is value
    assert processes.in_each(lambda: value) is value
    assert processes.gather(value) == [value]
    processes.barrier("any")
    with pytest.raises(FlaxcnnError, match="as it is"), processes.guarded():
        raise FlaxcnnError("as it is")
    processes.leave()
    assert threading.active_count() == threads


# Joining


def test_processes_that_do_not_come_are_named(fork, tmp_path):
    (first, second, _) = fork.start(
        "run(lambda: None, timeout=20.0 if index else 5.0) if index < 2 else sys.exit()", 3, tmp_path
    )
    fork.wait([first, second], AGREE_SECONDS)
    assert (first.code, second.code) == (1, 1)
    told = "not all processes came within 5 s; expected 3 of them, found 2, without 2. Start all of them"
    assert told in line_of(first)
    assert line_of(second).startswith("flaxcnn: process 0 of 3 ended: 127.0.0.1:")
    assert told in line_of(second)


def test_a_coordinator_that_is_not_there_is_told(fork, tmp_path):
    (_, second) = started = fork.start("run(lambda: None, timeout=0.5) if index else sys.exit()", 2, tmp_path)
    fork.wait(started, AGREE_SECONDS)
    assert second.code == 1
    assert "process 0 was not reached within 0.5 s: Connection refused. Start process 0 there" in line_of(second)


def test_a_port_that_is_taken_is_told(fork, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = f"port = {taken.getsockname()[1]}\nrun(lambda: None, 1.0) if index == 0 else sys.exit()"
        (first, _) = started = fork.start(program, 2, tmp_path)
        fork.wait(started)
    assert first.code == 2
    assert "process 0 cannot listen there: Address already in use" in line_of(first)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            "count = 3 if index else 2",
            "processes.count: process 1 was told another; expected 2, as process 0 has it, found 3",
        ),
        (
            "import flaxcnn; flaxcnn.__version__ = f'0.{index}'",
            "process 1 has another version of flaxcnn; expected 0.0, as process 0 has it, found 0.1",
        ),
        ("count = 3; index = min(index, 1)", "processes.index: two processes are told to be process 1"),
    ],
    ids=["count", "version", "index"],
)
def test_processes_that_do_not_fit_together_end_at_once_with_the_same_line(fork, tmp_path, wrong, told):
    started = fork.start(f"{wrong}\nrun(lambda: None)", 3 if "min" in wrong else 2, tmp_path)
    fork.wait(started, AGREE_SECONDS)
    assert [each.code for each in started] == [2] * len(started)
    for each in started:
        assert told in line_of(each)


def test_slurm_is_found_by_jax(fork, tmp_path):
    program = """
import os, jax
names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
values = (port, "127.0.0.1", count, index, index)
os.environ.update(zip(names, map(str, values)), JAX_COORDINATOR_PORT=str(port), SLURM_STEP_NUM_NODES="1")
join(Processes(auto=True), 60.0)
print(processes.index(), processes.count(), jax.process_index(), jax.device_count())
leave()
"""
    assert fork.run(program, 2, tmp_path) == ["0 2 0 2\n", "1 2 1 2\n"]


# Agreeing

AGREE = """
import jax, jax.numpy as jnp, pathlib
def work():
    print(processes.count(), processes.index(), is_first(), jax.process_index(), jax.device_count())
    print(share({"from": index, "pair": (1, None), "nan": float("nan")}))
    calls = []
    print(together(lambda: calls.append(index) or ["made by", index]), calls)
    print(gather(index * 10))
    print(in_each(lambda: (index, "own")))
    for number in range(50):
        barrier(f"of {number}")
        assert share(index * number) == 0
    if index == 1:
        time.sleep(0.5)
        pathlib.Path(late).touch()
    barrier("late")
    print(pathlib.Path(late).exists())
    try:
        in_each(lambda: index == 2 and fail())
    except RunFolderError as error:  # and the others did not wait for the work that cannot end
        print(error)
    at("the end")
    together(fail)

def fail():
    raise RunFolderError("cannot write", where="there", expected=1, found=None, fix="make space")

run(work)
"""


def test_four_processes_agree_and_an_error_of_the_first_is_the_same_error_in_all(fork, tmp_path):
    started = fork.start(AGREE, 4, tmp_path, late=str(tmp_path / "late"))
    fork.wait(started)
    for index, each in enumerate(started):
        assert each.out.splitlines() == [
            f"4 {index} {index == 0} {index} 4",
            "{'from': 0, 'pair': [1, None], 'nan': nan}",
            "['made by', 0] " + ("[0]" if index == 0 else "[]"),
            "[0, 10, 20, 30]",
            f"({index}, 'own')",
            "True",
            "there: cannot write; expected 1. Make space",
            "at the end",
        ]
        assert (each.code, line_of(each)) == (2, "flaxcnn: there: cannot write; expected 1. Make space")


def test_work_in_each_process_that_fails_in_one_ends_in_all_though_others_wait_for_it(fork, tmp_path):
    program = """
def work():
    in_each(lambda: time.sleep(1000) if index != 2 else fail())
def fail():
    raise RunFolderError("no space", where="there")
run(work)
"""
    started = fork.start(program, 3, tmp_path)
    fork.wait(started, AGREE_SECONDS)
    assert [(each.code, line_of(each)) for each in started] == [(2, "flaxcnn: there: no space")] * 3


def test_a_bug_in_one_process_is_shown_there_and_told_by_the_others(fork, tmp_path):
    started = fork.start("run(lambda: 1 / 0 if index == 1 else barrier('never'))", 3, tmp_path)
    fork.wait(started, AGREE_SECONDS)
    first, second, third = started
    assert [each.code for each in started] == [1, 1, 1]
    assert second.err.startswith("Traceback ")
    assert second.err.splitlines()[-1] == "ZeroDivisionError: division by zero"
    for each in (first, third):
        assert line_of(each) == "flaxcnn: process 1 of 3 ended: ZeroDivisionError: division by zero"


def test_processes_at_different_barriers_are_a_bug_and_no_wait_for_ever(fork, tmp_path):
    started = fork.start("run(lambda: barrier('odd' if index else 'even'))", 2, tmp_path)
    fork.wait(started, AGREE_SECONDS)
    assert [each.code for each in started] == [1, 1]
    assert "RuntimeError: process 0 is at 2, 'barrier even', and process 1 at 2, 'barrier odd'" in started[0].err


# Losing a process

COLLECTIVE = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
def work():
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    ones = np.ones((jax.local_device_count(), 1000), np.float32)
    array = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("data")), ones)
    total = jax.jit(lambda array: jnp.sum(array))
    assert float(total(array)) == 1000 * jax.device_count()
    at("work")
    WAIT
run(work)
"""
IN_A_COLLECTIVE = "while True: float(total(array))"
ABOUT_TO_ENTER = "time.sleep(2); float(total(array))"
IN_A_BARRIER = "barrier('never') if index != lost else time.sleep(1000)"
ELSEWHERE = "time.sleep(1000)"  # as in C++, out of which no exception leads


@pytest.mark.parametrize(
    ("wait", "count", "lost"),
    [
        (IN_A_COLLECTIVE, 4, 2),
        (IN_A_COLLECTIVE, 2, 0),
        (ABOUT_TO_ENTER, 4, 0),
        (ABOUT_TO_ENTER, 2, 1),
        (IN_A_BARRIER, 4, 3),
        (IN_A_BARRIER, 4, 0),
        (ELSEWHERE, 2, 0),
    ],
    ids=lambda value: {
        IN_A_COLLECTIVE: "collective",
        ABOUT_TO_ENTER: "entering",
        IN_A_BARRIER: "barrier",
        ELSEWHERE: "elsewhere",
    }.get(value),
)
def test_a_killed_process_ends_the_others_within_a_minute_with_one_line_that_names_it(
    fork, tmp_path, wait, count, lost
):
    started = fork.start(COLLECTIVE.replace("WAIT", wait), count, tmp_path, lost=lost)
    fork.wait_until_at("work", started)
    time.sleep(0.3)
    started[lost].kill()
    fork.wait(started, AGREE_SECONDS)
    others = [each for each in started if each is not started[lost]]
    assert [each.code for each in others] == [1] * (count - 1)
    for each in others:
        assert line_of(each) == (
            f"flaxcnn: process {lost} of {count} was lost: it was killed, or its machine or the network failed. "
            "The run's last checkpoint is kept: resume with the same command, also with fewer processes"
        )


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_of_which_nothing_is_heard_is_lost_though_its_connections_stand(fork, tmp_path, lost):
    """A stopped process is to the others what a machine without power is: silent."""
    program = (
        "connections.PING_SECONDS, connections.SILENT_SECONDS, connections.GRACE_SECONDS = 0.2, 6.0, 1.0\n"
        + COLLECTIVE.replace("WAIT", IN_A_COLLECTIVE)
    )
    started = fork.start(program, 3, tmp_path)
    fork.wait_until_at("work", started)
    started[lost].kill(signal.SIGSTOP)
    others = [each for each in started if each is not started[lost]]
    fork.wait(others, AGREE_SECONDS)
    started[lost].kill()
    assert [each.code for each in others] == [1, 1]
    for each in others:
        assert line_of(each).startswith(f"flaxcnn: process {lost} of 3 was lost")


def ending_after(waits, monkeypatch):
    """Why a process ended the run, None where it did not, whose waits for another one took so long, by its clock."""
    now, left, endings = 0.0, list(waits), []

    class Silence(contextlib.nullcontext):
        def __enter__(self):
            return self

        def register(self, connection, events):
            pass

        def select(self, timeout):
            nonlocal now
            if not left:
                return [True]  # what the other one said at last
            now += left.pop(0)
            return []

    monkeypatch.setattr(connections, "selectors", SimpleNamespace(DefaultSelector=Silence, EVENT_READ=None))
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: now))
    ours = connections.Connections(0, 2)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
        server.accept()[0] as other,
    ):
        other.sendall(write("bye"))
        other.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(ours, "end", endings.append)
        ours.add(1, connection)
        for thread in threading.enumerate():
            if thread.name == "process 1":
                thread.join()
    return endings[0].process if endings else None


def test_a_process_that_was_asleep_itself_does_not_take_the_others_for_lost(monkeypatch):
    """As a laptop or a job that was stopped and goes on: one wait took an hour, and it was no silence of the others."""
    silence = [connections.PING_SECONDS] * round(connections.SILENT_SECONDS / connections.PING_SECONDS)
    assert ending_after(silence, monkeypatch) is None
    assert ending_after([*silence, connections.PING_SECONDS], monkeypatch) == 1
    assert ending_after([*silence, 3600.0, *silence], monkeypatch) is None
    assert ending_after([*silence, 3600.0, *silence, connections.PING_SECONDS], monkeypatch) == 1


def test_a_process_killed_while_the_others_join_ends_them(fork, tmp_path):
    program = """
import jax
connections.GRACE_SECONDS = 1.0
if index == 1:
    jax.distributed.initialize = lambda *arguments, **options: [at("the end"), time.sleep(1000)]
run(lambda: None)
"""
    started = fork.start(program, 3, tmp_path)
    fork.wait_until_at("the end", started[1:2])
    started[1].kill()
    fork.wait(started, AGREE_SECONDS)
    for each in (started[0], started[2]):
        assert each.code == 1
        assert "process 1 of 3 was lost" in each.err.splitlines()[-1]

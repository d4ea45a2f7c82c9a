"""Who may join a run, where its processes listen, and that strangers and what they say harm nobody."""

import contextlib
import json
import os
import socket
import stat
import threading
import time
from ipaddress import ip_address

import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.processes.addresses import addresses, connect, listen
from flaxcnn.processes.joining import _warn_of_loopback
from flaxcnn.processes.secret import given_secret, own_secret, proof
from tests.listening import listening
from tests.many_processes import line_of

pytestmark = pytest.mark.devices

SECRET = "5f" * 32
DIGEST = "0" * 64


def reached(port, host="127.0.0.1", seconds=20):
    """A connection to process 0, as soon as it listens, and the nonce of its challenge."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            connection = socket.create_connection((host, port), 20)
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return connection, json.loads(connection.makefile("rb").readline())["nonce"]


def answer_to(port, said):
    """All that process 0 says to what a stranger says, until it closes the connection."""
    connection, _ = reached(port)
    with connection:
        with contextlib.suppress(ConnectionError):  # it need not hear all of it
            connection.sendall(said)
            return b"".join(iter(lambda: connection.recv(4096), b""))
        return b""


def claim(**fields):
    return json.dumps({"kind": "claim", "purpose": "run", "nonce": DIGEST, "proof": DIGEST, **fields}).encode() + b"\n"


# The secret


def test_a_proof_is_an_hmac_of_both_nonces_and_of_the_role():
    """By `printf 'flaxcnn processes 1\\nopened\\nrun\\nc\\na' | openssl dgst -sha256 -hmac 0123456789abcdef`."""
    expected = "7d96f16ab7ca4e38c9c32a1d9d9e8dbb0a10592832b34b215747668522a81d35"
    assert proof(b"0123456789abcdef", "opened", "run", "c", "a") == expected


def test_a_secret_is_taken_from_a_file_before_the_environment(monkeypatch, tmp_path):
    assert given_secret(None) is None
    monkeypatch.setenv("FLAXCNN_SECRET", SECRET)
    assert given_secret(None) == SECRET.encode()
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("of sixteen bytes\n")
    assert given_secret(str(file)) == b"of sixteen bytes"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda file: None, "cannot be read; found No such file or directory"),
        (lambda file: file.mkdir(), "not a regular file; found a folder"),
        (lambda file: os.mkfifo(file, 0o600), "not a regular file; found a pipe"),
        (lambda file: file.write_text(SECRET), "open to all users of the machine. Run: chmod 600 "),
        (
            lambda file: (file.touch(0o600), file.write_text("short\n")),
            "16 to 4096 bytes, such as openssl rand -hex 32",
        ),
        (lambda file: (file.touch(0o600), file.write_text("x" * 10**6)), "no secret; expected 16 to 4096 bytes"),
    ],
    ids=["missing", "folder", "fifo", "open", "short", "long"],
)
def test_a_file_that_holds_no_secret_is_told(tmp_path, make, told):
    make(tmp_path / "secret")
    with pytest.raises(ConfigError) as caught:
        given_secret(str(tmp_path / "secret"))
    assert told in str(caught.value)


def test_a_users_own_secret_is_made_once_for_all_who_ask_at_the_same_time_and_is_his_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    threads = [threading.Thread(target=lambda: found.append(own_secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) == 64
    path = tmp_path / "flaxcnn" / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"secret: not this user's alone\. Delete it"):
        own_secret()


def test_an_address_that_other_machines_reach_needs_a_secret(fork, tmp_path):
    started = fork.start("run(lambda: None)", 2, tmp_path, host="0.0.0.0")
    fork.wait(started)
    for each in started:
        assert each.code == 2
        assert line_of(each) == (
            f"flaxcnn: processes.coordinator 0.0.0.0:{each.port}: not without a secret; expected one, since other "
            "machines reach this address. Make one with: export FLAXCNN_SECRET=$(openssl rand -hex 32), and start "
            "all processes with it; or name a file that holds one: --processes.secret_file FILE"
        )


def test_a_process_with_another_secret_is_told_and_the_run_does_without_it(fork, tmp_path):
    program = f"""
import os, pathlib
os.environ["FLAXCNN_SECRET"] = {SECRET!r} if index != 1 else "another of 16 or more"
if index == 2:
    while not pathlib.Path(go).exists():
        time.sleep(0.02)
count, index = 2, min(index, 1)
run(lambda: print(gather(index)))
"""
    first, other, second = fork.start(program, 3, tmp_path, go=str(tmp_path / "go"))
    fork.wait([other])
    assert other.code == 2
    assert "process 0 has another secret. Give all processes the same, by FLAXCNN_SECRET" in line_of(other)
    (tmp_path / "go").touch()
    fork.wait([first, second])
    assert [(each.code, each.out, each.err) for each in (first, second)] == [(0, "[0, 1]\n", "")] * 2


def test_what_was_wrong_with_the_secret_is_told_by_process_0_too(fork, tmp_path):
    program = "import os; os.environ['FLAXCNN_SECRET'] = str(index) * 16\nrun(lambda: None, 2.0)"
    first, second = started = fork.start(program, 2, tmp_path)
    fork.wait(started)
    assert (first.code, second.code) == (1, 2)
    assert "found 1, without 1; 1 connections had another secret. Give all processes the same" in line_of(first)


def test_who_pretends_to_be_process_0_learns_nothing_and_is_not_believed(fork, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as false:
        program = f"port = {false.getsockname()[1]}\nrun(lambda: None, 20.0) if index else sys.exit()"
        _, second = started = fork.start(program, 2, tmp_path)
        with false.accept()[0] as connection:
            connection.sendall(json.dumps({"kind": "challenge", "nonce": DIGEST}).encode() + b"\n")
            said = json.loads(connection.makefile("rb").readline())
            assert sorted(said) == ["kind", "nonce", "proof", "purpose"]
            connection.sendall(json.dumps({"kind": "proof", "proof": said["proof"]}).encode() + b"\n")
            assert connection.recv(1) == b""
        fork.wait(started)
    assert second.code == 2
    assert "process 0 has another secret" in line_of(second)


# Where it listens

WORK = """
import jax, jax.numpy as jnp, numpy as np, pathlib
from jax.sharding import NamedSharding, PartitionSpec
def work():
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    array = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("data")), np.ones(1))
    assert float(jax.jit(jnp.sum)(array)) == 2
    at("work")
    while not pathlib.Path(end).exists():
        time.sleep(0.02)
while index and not pathlib.Path(go).exists():
    time.sleep(0.02)
run(work)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "[::1]", "localhost"])
def test_a_run_listens_at_the_coordinators_address_alone_and_then_for_collectives_there(fork, tmp_path, host):
    name = host.strip("[]")
    asked = {each[4][0] for each in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}
    files = {name: str(tmp_path / name) for name in ("go", "end")}
    started = fork.start(WORK, 2, tmp_path, host=host, **files)
    reached(started[0].port, name)[0].close()
    assert set() < listening(started[0].pid) <= asked
    assert listening(started[1].pid) == set()
    (tmp_path / "go").touch()
    fork.wait_until_at("work", started)
    assert set() < listening(started[0].pid) <= asked
    (other,) = listening(started[1].pid)  # where it speaks to process 0 from
    assert ip_address(other).is_loopback
    with pytest.raises(ConnectionRefusedError):  # all are there
        socket.create_connection((name, started[0].port), 5)
    (tmp_path / "end").touch()
    fork.wait(started)
    assert [(each.code, each.err) for each in started] == [(0, "")] * 2


def test_an_address_of_another_machine_is_told():
    with pytest.raises(ConfigError, match=r"none of its addresses is this machine's; found 203\.0\.113\.1\. Start"):
        listen(addresses("203.0.113.1", 1, 0), "node:1")  # RFC 5737: nobody's


def test_a_name_that_nobody_knows_is_told():
    with pytest.raises(ConfigError, match=r"processes\.coordinator nobody\.invalid: no such host"):
        addresses("nobody.invalid", 1, 0)  # RFC 6761
    with pytest.raises(OSError, match="label"):
        connect("x" * 100, 1, time.monotonic())  # RFC 1035: a label has 63 bytes at most
    with pytest.raises(ConfigError, match="no such host"):
        addresses("x" * 100, 1, 0)


def test_a_name_that_is_the_loopback_on_its_own_machine_is_told_where_others_are_to_come(capsys):
    found = addresses("127.0.1.1", 1, 0)
    for name in ("127.0.1.1", "localhost"):
        _warn_of_loopback(name, found)
    assert capsys.readouterr().err == ""
    _warn_of_loopback("node001", found)
    told = capsys.readouterr().err
    assert told.startswith("flaxcnn: process 0 listens on 127.0.1.1, which 'node001' is on this machine; for other")
    assert told.count("\n") == 1


# Strangers

STRANGERS = {
    "web": b"GET / HTTP/1.1\r\n\r\n",
    "long": b"x" * 100_000,
    "deep": b"[" * 4000 + b"\n",
    "binary": bytes(range(256)) + b"\n",
    "bare jax": b"jax\n",
    "jax": claim(purpose="jax"),
    "process": claim(),
    "purpose": claim(purpose="shell"),
    "types": claim(nonce=1, proof=None),
    "more": claim(more=1),
    "two lines": claim() + claim(),
    "unasked hello": b'{"kind": "hello", "index": 99, "count": 2, "versions": {}}\n',
    "end": b'{"kind": "end", "process": 1, "line": "x", "exit_code": 0}\n',
}


def test_strangers_of_all_kinds_and_a_flood_of_silent_ones_keep_nobody_from_joining(fork, tmp_path):
    program = """
import pathlib, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
while index and not pathlib.Path(go).exists():
    time.sleep(0.02)
run(lambda: print(gather(index)))
"""
    started = fork.start(program, 2, tmp_path, go=str(tmp_path / "go"))
    with contextlib.ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(reached(started[0].port)[0])
        for kind, said in STRANGERS.items():
            told = answer_to(started[0].port, said)
            assert told in (b"", b'{"kind": "stranger"}\n'), kind
        (tmp_path / "go").touch()
        fork.wait(started)
    assert [(each.code, each.out, each.err) for each in started] == [(0, "[0, 1]\n", "")] * 2


def test_a_proof_that_was_overheard_is_none_for_another_connection(fork, tmp_path):
    program = f"""
import os, pathlib
os.environ["FLAXCNN_SECRET"] = {SECRET!r}
while index and not pathlib.Path(go).exists():
    time.sleep(0.02)
run(lambda: print(gather(index)))
"""
    started = fork.start(program, 2, tmp_path, go=str(tmp_path / "go"))
    connection, nonce = reached(started[0].port)
    right = claim(proof=proof(SECRET.encode(), "opened", "run", nonce, DIGEST))
    with connection:
        connection.sendall(right)
        assert json.loads(connection.makefile("rb").readline()) == {
            "kind": "proof",
            "proof": proof(SECRET.encode(), "accepted", "run", nonce, DIGEST),
        }
        assert answer_to(started[0].port, right) == b'{"kind": "stranger"}\n'
        (tmp_path / "go").touch()
        fork.wait(started)  # nor does it matter that one that proved it says nothing more
    assert [(each.code, each.out, each.err) for each in started] == [(0, "[0, 1]\n", "")] * 2


# What a process of the run says

SENSELESS = {
    "garbage": b"\xff\n",
    "no object": b"[]\n",
    "deep": b"[" * 200_000 + b"\n",
    "deep value": b'{"kind": "say", "number": 2, "name": "gather", "value": ' + b"[" * 30 + b"]" * 30 + b"}\n",
    "long": b"x" * 17,  # a million times
    "unknown": b'{"kind": "exec"}\n',
    "list for a kind": b'{"kind": []}\n',
    "true for a number": b'{"kind": "say", "number": true, "name": "x", "value": 0}\n',
    "fields": b'{"kind": "ping", "more": 1}\n',
    "success": b'{"kind": "end", "process": 1, "line": "x", "exit_code": 0}\n',
    "another's end": b'{"kind": "end", "process": 0, "line": "x", "exit_code": 1}\n',
    "hello": b'{"kind": "hello", "index": 1, "count": 2, "versions": {}}\n',
}


def test_a_process_that_sends_what_none_sends_ends_the_run_in_one_line(fork, tmp_path):
    program = """
connections.GRACE_SECONDS = 1.0
def work():
    if index == 0:
        gather(0)
    processes.joining.connections()._peers[0].connection.sendall(bytes.fromhex(said) * times)
    time.sleep(1000)
run(work)
"""
    runs = [
        fork.start(program, 2, tmp_path, said=said.hex(), times=10**6 if kind == "long" else 1)
        for kind, said in SENSELESS.items()
    ]
    for kind, (first, second) in zip(SENSELESS, runs, strict=True):
        fork.wait([first, second])
        assert (first.code, second.code) == (1, 1), kind
        told = "flaxcnn: process 1 of 2 ended: it sent what no process of a run sends: "
        assert line_of(first).startswith(told), kind
        assert "process 0 of 2 was lost" in line_of(second), kind


@pytest.mark.parametrize("value", [[], {"error": {}}, {"error": None}, {"error": {"kind": "os.system", "what": "x"}}])
def test_an_outcome_that_is_none_is_one_line(fork, tmp_path, value):
    program = """
connections.GRACE_SECONDS = 1.0
def work():
    if index == 0:
        processes.joining.connections().say(1, 2, "together", value)
        time.sleep(1000)
    together(lambda: None)
run(work)
"""
    started = fork.start(program, 2, tmp_path, value=value)
    fork.wait(started)
    assert [each.code for each in started] == [1, 1]
    assert line_of(started[1]) == "flaxcnn: another process sent what no process of a run sends"


def test_what_another_process_says_does_nothing_to_the_terminal(fork, tmp_path):
    program = """
def work():
    if index:
        raise RunFolderError("\\x1b[2J\\x1b]0;owned\\x07 a\\nb \\u202e \\ud800", where="there")
    barrier("never")
run(work)
"""
    started = fork.start(program, 2, tmp_path)
    fork.wait(started)
    told = r"there: \x1b[2J\x1b]0;owned\x07 a b \u202e \ud800"
    assert [line_of(each) for each in started] == [f"flaxcnn: process 1 of 2 ended: {told}", f"flaxcnn: {told}"]

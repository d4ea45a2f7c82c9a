"""What the processes of a run hear from each other, and what process 0 hears from whoever reaches its port."""

import json
import socket
import threading

from flaxcnn.processes.listener import Listener
from flaxcnn.processes.messages import LONGEST_LINE, Lines, MessageError, is_error, read
from flaxcnn.processes.secret import proof
from tests.fuzz.mutations import count, hold, mutated_bytes, mutated_json

SECRET, DIGEST = b"of sixteen bytes", "0" * 64
ERROR = {
    "kind": "flaxcnn.errors.DataError",
    "what": "a",
    "fix": "",
    "elsewhere": "",
    "where": None,
    "expected": "1",
    "found": "2",
}
MESSAGES = [
    {"kind": "challenge", "nonce": DIGEST},
    {"kind": "claim", "purpose": "run", "nonce": DIGEST, "proof": DIGEST},
    {"kind": "proof", "proof": DIGEST},
    {"kind": "hello", "index": 1, "count": 2, "versions": {"jax": "0.12.0", "flaxcnn": "0.1"}},
    {"kind": "welcome"},
    {"kind": "refused", "line": "another version"},
    {"kind": "ping"},
    {"kind": "bye"},
    {"kind": "say", "number": 3, "name": "gather", "value": [1, {"a": [None, 0.5]}, "x"]},
    {"kind": "say", "number": 3, "name": "together", "value": {"error": {**ERROR, "exit_code": 2}}},
    {"kind": "end", "process": 1, "line": "it is over", "exit_code": 2},
]
KINDS = sorted({each["kind"] for each in MESSAGES})


def test_no_line_is_answered_with_anything_but_a_message_or_that_it_is_none():
    def run(data):
        try:
            for line in Lines(LONGEST_LINE).take(data + b"\n"):
                message = read(line, *KINDS)
                assert message["kind"] in KINDS
                if message["kind"] == "end":
                    assert 1 <= message["exit_code"] <= 255
                json.dumps(message)  # it can be passed on
                is_error(message.get("value"))
        except MessageError:
            pass

    hold(run, mutated_json(MESSAGES, count()))


def test_no_stranger_says_what_makes_the_listener_believe_him_or_end():
    """What a process of the run says is changed in one place or more, or belongs to another connection."""
    believed = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        sockets = [server.dup()]
    claims = [
        json.dumps({"kind": "claim", "purpose": purpose, "nonce": DIGEST, "proof": made}).encode() + b"\n"
        for purpose in ("run", "jax")
        for made in (DIGEST, proof(SECRET, "opened", purpose, DIGEST, DIGEST))
    ]
    hello = b'{"kind": "hello", "index": 1, "count": 2, "versions": {}}\n'

    def run(data):
        with socket.create_connection(address, 10) as connection:
            connection.makefile("rb").readline()
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except ConnectionError:  # it was not heard to its end
                pass

    handlers = {"on_process": lambda *found: believed.append(found), "on_jax": believed.append}
    with Listener(sockets, SECRET, **handlers):
        threads = threading.active_count()
        hold(run, mutated_bytes([*claims, claims[0] + hello, hello], count(cost=5)))
        assert threading.active_count() == threads
        with socket.create_connection(address, 10) as connection:  # it is still there, and knows who is no stranger
            lines = connection.makefile("rb")
            nonce = json.loads(lines.readline())["nonce"]
            right = proof(SECRET, "opened", "run", nonce, DIGEST)
            message = {"kind": "claim", "purpose": "run", "nonce": DIGEST, "proof": right}
            connection.sendall(json.dumps(message).encode() + b"\n")
            assert json.loads(lines.readline())["kind"] == "proof"
            assert believed == []
            connection.sendall(hello)
            while not believed:
                threading.Event().wait(0.01)
            believed[0][0].close()
    assert [found[1]["index"] for found in believed] == [1]

"""A service begins, is asked to end, and ends: real processes, real signals, real sockets."""

import contextlib
import signal
import socket
import sys

import httpx
import pytest

from flaxcnn.cli import main
from tests.listening import listening
from tests.serving.service import head, metric, response, started


@contextlib.contextmanager
def half_asked(service, image):
    """A connection whose request the service has begun to read."""
    with service.connect() as connection, httpx.Client(base_url=service.url) as client:
        connection.sendall(head(len(image)) + image[:-1])
        while not metric(client, "flaxcnn_held_bytes"):
            pass
        yield connection


def wait_until_it_refuses(service):
    with contextlib.suppress(ConnectionError):
        while True:
            service.connect().close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_what_it_accepted_is_answered(number, shapes_run, command_environment):
    image = shapes_run[1][0].read_bytes()
    with started(shapes_run[0], command_environment) as service:
        assert listening(service.process.pid) == {"127.0.0.1"}
        with half_asked(service, image) as connection:
            service.process.send_signal(number)
            wait_until_it_refuses(service)
            connection.sendall(image[-1:])
            code, said = response(connection)
        assert code == 200
        assert len(said["answers"]) == 1
        out, err = service.process.communicate(timeout=60)
    assert (service.process.returncode, out, err) == (0, "stopped: what was accepted is answered\n", "")


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(shapes_run, command_environment):
    image = shapes_run[1][0].read_bytes()
    with started(shapes_run[0], command_environment) as service, half_asked(service, image):
        service.process.send_signal(signal.SIGTERM)
        wait_until_it_refuses(service)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(60) == 128 + signal.SIGINT


@pytest.mark.slow
def test_a_key_is_asked_for_and_answers_are_withheld(shapes_run, command_environment, tmp_path):
    folder, paths = shapes_run
    key = "correct-horse-battery-staple"
    (tmp_path / "key").write_text(f"{key}\n")
    words = ("--api_key_file", tmp_path / "key", "--max_batch", "1", "--precision", "0.5", "--top", "1")
    with (
        started(folder, command_environment, *words) as service,
        httpx.Client(base_url=service.url, headers={"content-type": "image/png"}) as client,
    ):
        assert client.get("/healthz").status_code == 200
        for headers in ({}, {"authorization": "Bearer another-key-of-some-length"}, {"authorization": f"Basic {key}"}):
            refused = client.post("/predict", content=paths[0].read_bytes(), headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert key not in refused.text
        allowed = {"authorization": f"Bearer {key}"}
        done = client.post("/predict", content=paths[0].read_bytes(), headers=allowed)
        assert done.status_code == 200
        (answer,) = done.json()["answers"]
        assert {"guess", "class"} < set(answer)
        assert len(answer["top"]) == 1
        assert client.get("/model", headers=allowed).json()["batch_sizes"] == [1]


def test_a_port_in_use_is_one_line_before_the_model_is_loaded(commands, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = commands.run(["serve", "no-such-run", "--port", port], tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"flaxcnn: --host 127.0.0.1 --port {port}: port in use. Choose another --port, or 0 for any that is free\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve"], "RUN is missing"),
        (["serve", "nowhere", "--port", "0"], "nowhere"),
        (["serve", "x", "--port", "70000"], "--port"),
        (["serve", "x", "--host", "no.such.host.invalid"], "no such host"),
        (["serve", "x", "--host", "192.0.2.1", "--port", "0"], "cannot listen there"),
        (["serve", "x", "--max_batch", "0"], "--max_batch"),
        (["serve", "x", "--timeout", "0"], "--timeout"),
        (["serve", "x", "--api_key_file", "none"], "no such file"),
        (["serve", "x", "--api_key_file", "short"], "no key in this file"),
    ],
)
def test_a_mistake_is_one_line(commands, words, said, tmp_path):
    (tmp_path / "short").write_text("1234")
    done = commands.run(words, tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_one_line_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", "x"]) == 2
    assert capsys.readouterr().err == (
        "flaxcnn: flaxcnn serve: this command needs the package fastapi. "
        "Install it with: pip install 'flaxcnn[serve]'\n"
    )

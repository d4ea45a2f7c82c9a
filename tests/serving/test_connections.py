"""Connections that never ask, begin to ask for ever, or are too many: on a server in a thread, with a test's bounds."""

import threading

import httpx
import pytest

from flaxcnn.errors import ConfigError
from flaxcnn.serving import server
from flaxcnn.serving.app import create_app
from flaxcnn.serving.settings import Settings
from tests.serving.service import Service, head, metric, response
from tests.serving.test_limits import IMAGE, Model


@pytest.fixture
def model():
    """A model that answers at once."""
    model = Model()
    model.may_go_on.set()
    return model


@pytest.fixture
def asked(monkeypatch, model):
    """A server that is ready; it ends with the test."""
    ready, servers = threading.Event(), []

    class Remembered(server._Server):
        def __init__(self, *words):
            super().__init__(*words)
            servers.append(self)

    monkeypatch.setattr(server, "_Server", Remembered)
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(server, "_CONNECTIONS", 3)
    with server.bound("127.0.0.1", 0) as listening:
        url, app = server.url_of(listening), create_app(model, Settings())
        thread = threading.Thread(target=server.serve, args=(app, listening, Settings(), ready.set))
        thread.start()
        assert ready.wait(60)
        yield Service(None, url)
        model.may_go_on.set()
        servers[0].should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("begun", [b"", b"POST /predict HTTP/1.1\r\nhost: "])
def test_who_does_not_ask_in_time_is_told_so_and_let_go(asked, begun):
    with asked.connect() as connection:
        connection.sendall(begun)
        code, said = response(connection)
        assert code == 408
        assert said["error"]["what"] == "the request took too long to begin"
        assert connection.recv(1) == b""


def test_who_begins_again_and_does_not_end_is_let_go_too(asked):
    with asked.connect() as connection:
        for _ in range(2):
            connection.sendall(head(len(IMAGE)) + IMAGE)
            code, said = response(connection)
            assert (code, said["answers"]) == (200, [{"image": "-", "value": 7}])
        connection.sendall(head(len(IMAGE))[:20])
        assert response(connection)[0] == 408


def test_a_body_may_take_longer_than_a_head(asked):
    with asked.connect() as slow, asked.connect() as silent:
        slow.sendall(head(len(IMAGE)) + IMAGE[:-1])
        assert response(silent)[0] == 408  # as long as a head may take
        slow.sendall(IMAGE[-1:])
        assert response(slow)[0] == 200


def test_more_connections_than_there_may_be_are_refused_and_there_is_room_again(asked, monkeypatch):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 60)
    held = [asked.connect() for _ in range(3)]
    with asked.connect() as refused:
        code, said = response(refused)
        assert (code, said["error"]["what"]) == (503, "too many connections")
    for each in held:
        each.close()
    code = 503
    while code == 503:  # until the server has seen that they are closed
        with asked.connect() as connection:
            connection.sendall(head(0, path="/nowhere"))
            code, _ = response(connection)
    assert code == 404


def test_an_address_says_where_it_is_as_a_url():
    with server.bound("localhost", 0) as listening:
        assert server.url_of(listening) in {f"http://127.0.0.1:{listening.getsockname()[1]}",
                                            f"http://[::1]:{listening.getsockname()[1]}"}  # fmt: skip


def test_work_for_a_client_that_went_away_is_given_up(asked, model):
    model.may_go_on.clear()
    with asked.connect() as first, httpx.Client(base_url=asked.url) as client:
        first.sendall(head(len(IMAGE)) + IMAGE)
        assert model.began.wait(60)
        with asked.connect() as gone:
            gone.sendall(head(len(IMAGE)) + IMAGE[:-1] + b"\x08")
            while metric(client, "flaxcnn_queue_images") < 2:
                pass
        while metric(client, "flaxcnn_queue_images") > 1:
            pass
        model.may_go_on.set()
        assert response(first)[0] == 200
        assert 'code="499"' in client.get("/metrics").text
    assert model.batches == [[7]]


def test_a_port_that_was_taken_after_it_was_bound_is_an_error_of_one_line(model):
    with server.bound("127.0.0.1", 0) as first, server.bound("127.0.0.1", first.getsockname()[1]) as second:
        first.listen()
        with pytest.raises(ConfigError, match="port in use"):
            server.serve(create_app(model, Settings()), second, Settings(), lambda: pytest.fail("it is not ready"))

"""A server in this process that answers as MLflow's does, or as it should not."""

import json
import threading
import time
import urllib.parse
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeMlflow:
    """What a server has, and how it behaves.

    Attributes:
        fault: "", or one of the kinds in `_Handler`.
        runs: by identifier: status, params, tags and metrics, each (key, value, step) as it was logged.
        requests: (path, headers, body) of each.
    """

    def __init__(self):
        self.fault, self.runs, self.requests, self.experiments = "", {}, [], {}
        self.lock, self.released = threading.Lock(), threading.Event()
        self.uri = ""

    def steps(self, key="train_loss"):
        return [step for run in self.runs.values() for name, _, step in run["metrics"] if name == key]

    def answer(self, path, body, query):
        """Return the status and the answer of a request, after doing what it asks for."""
        if path == "experiments/get-by-name":
            name = query["experiment_name"][0]
            if name not in self.experiments:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
            return 200, {"experiment": {"experiment_id": self.experiments[name]}}
        if path == "experiments/create":
            self.experiments[body["name"]] = str(len(self.experiments) + 1)
            return 200, {"experiment_id": self.experiments[body["name"]]}
        if path == "runs/search":
            value = body["filter"].split("'")[1]
            found = [key for key, run in self.runs.items() if run["tags"].get("flaxcnn.id") == value]
            return 200, {"runs": [self.described(key) for key in found]}
        if path == "runs/create":
            key = f"run{len(self.runs)}"
            tags = {each["key"]: each["value"] for each in body["tags"]}
            self.runs[key] = {"status": "RUNNING", "params": {}, "tags": tags, "metrics": []}
            return 200, {"run": self.described(key)}
        run = self.runs[body["run_id"] if body else query["run_id"][0]]
        if path == "metrics/get-history":
            steps = [step for name, _, step in run["metrics"] if name == query["metric_key"][0]]
            first = int(query.get("page_token", ["0"])[0])
            page = {"metrics": [{"step": step} for step in steps[first : first + 3]]}  # small pages
            return 200, {**page, **({"next_page_token": str(first + 3)} if len(steps) > first + 3 else {})}
        if path == "runs/update":
            run["status"] = body["status"]
        if path == "runs/log-batch":
            metrics, params, tags = (body.get(name, []) for name in ("metrics", "params", "tags"))
            assert len(metrics) <= 1000
            assert len(params) <= 100
            assert len(tags) <= 100
            assert all(len(each["value"]) <= 6000 for each in params)
            for each in params:
                assert run["params"].get(each["key"], each["value"]) == each["value"], "a parameter never changes"
                run["params"][each["key"]] = each["value"]
            run["tags"] |= {each["key"]: each["value"] for each in tags}
            run["metrics"] += [(each["key"], each["value"], each["step"]) for each in metrics]
        return 200, {}

    def described(self, key):
        run = self.runs[key]
        last = {name: value for name, value, _ in run["metrics"]}
        params = [{"key": name, "value": value} for name, value in run["params"].items()]
        metrics = [{"key": name, "value": value} for name, value in last.items()]
        return {"info": {"run_id": key, "status": run["status"]}, "data": {"params": params, "metrics": metrics}}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._serve(None)

    def do_POST(self):
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body):
        fake, parts = self.server.fake, urllib.parse.urlsplit(self.path)
        path = parts.path.removeprefix("/api/2.0/mlflow/")
        with fake.lock:
            fake.requests.append((path, dict(self.headers), body))
            if fake.fault == "500":
                return self._send(500, b"<html>no</html>")
            if fake.fault == "garbage":
                return self._send(200, b"\xff\x00 not JSON")
            if fake.fault == "another":
                return self._send(200, b'{"experiment": [], "runs": {"a": 1}}')
            if fake.fault == "endless":
                return self._send(200, b" " * (20 << 20))
            if fake.fault == "redirect":
                return self._send(302, b"", {"Location": f"{fake.uri}/elsewhere"})
            if fake.fault == "refused":
                return self._send(401, b'{"error_code": "UNAUTHENTICATED", "message": "say\x1b who"}')
            batches = [each for path, _, each in fake.requests if path == "runs/log-batch"]
            if fake.fault == "second part" and sum(bool(each.get("metrics")) for each in batches) > 1:
                return self._send(500, b"{}")
            if fake.fault == "summary's texts" and any("summary" in str(each.get("tags")) for each in batches[-1:]):
                return self._send(500, b"{}")
        if fake.fault == "slow":
            fake.released.wait(60)
            return None
        if fake.fault == "dripping":
            self.send_response(200)
            self.end_headers()
            while not fake.released.wait(0.05):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return None
            return None
        with fake.lock:
            status, answer = fake.answer(path, body, urllib.parse.parse_qs(parts.query))
        if fake.fault == "lost" and path == "runs/log-batch" and body.get("metrics"):
            fake.fault = ""
            return self._send(503, b"{}")
        return self._send(status, json.dumps(answer).encode())

    def _send(self, status, data, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(OSError):  # who asked has had enough
            self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def fake_mlflow():
    """Serve a `FakeMlflow` on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.fake = fake = FakeMlflow()
    fake.uri = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.shutdown()
        server.server_close()


def wait_for(holds, seconds=10.0):
    """Wait until a condition holds, and return whether it does."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()

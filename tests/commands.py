"""The real command in processes of its own, started fast: forked from one that has imported the library.

A fork runs `flaxcnn` to the end of the interpreter, in a folder of its own, with its own exit code and files of output.
JAX starts in the fork: in the process that is forked from it is only imported.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FORK = """
import json, os, sys, threading
import matplotlib.backends.backend_agg, matplotlib.figure, scipy.stats
import flaxcnn.cli, flaxcnn.compilation_cache, flaxcnn.evaluation.comparison, flaxcnn.runs.evaluate, flaxcnn.runs.train
import flaxcnn.runs.output.mlflow
from flaxcnn.__main__ import main
from flaxcnn.training.checkpoints import import_orbax
import_orbax()
assert threading.active_count() == 1  # a fork would lose the others

for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        break
    print(json.dumps({"pid": pid}), flush=True)
    print(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)
else:
    os._exit(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(asked[name], os.O_WRONLY), number)
os.chdir(asked["cwd"])
sys.argv = ["flaxcnn", *asked["words"]]
sys.exit(main())
"""


class Commands:
    """Runs commands one after the other, each in a process of its own.

    Args:
        environment: of all the commands.
    """

    def __init__(self, environment):
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORK], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def run(self, words, cwd, seconds=300):
        """Run `flaxcnn` with these words in a folder; return its exit code and what it said, as text."""
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            asked = {"words": [*map(str, words)], "cwd": str(cwd), "out": out.name, "err": err.name}
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            pid = self._answer(seconds)["pid"]
            try:
                code = self._answer(seconds)["code"]
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._answer(seconds)
                raise
            said = (Path(each.name).read_text() for each in (out, err))
            return subprocess.CompletedProcess(["flaxcnn", *asked["words"]], code, *said)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self, seconds):
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no end after {seconds} seconds")
        line = self._process.stdout.readline()
        assert line, "the process to fork from ended"
        return json.loads(line)

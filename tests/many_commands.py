"""Many commands in one process, which imports the library once: for mistakes, which are answered before work begins."""

import json
import subprocess
import sys

PROGRAM = """
import contextlib, io, json, sys
from flaxcnn.cli import main

for words in json.load(sys.stdin):
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        code = main(words)
    print(json.dumps({"words": words, "code": code, "said": said.getvalue(), "printed": printed.getvalue()}))
"""


def answers(environment, folder, commands, first=""):
    """Run commands in a folder; return of each its words, exit code, and what it said on stderr and on stdout.

    `first` is Python that the process runs before it becomes the one of the commands.
    """
    words = [sys.executable, "-c", PROGRAM]
    if first:
        words = [sys.executable, "-c", f"{first}\nimport os, sys\nos.execv(sys.executable, {words!r})"]
    done = subprocess.run(
        words,
        input=json.dumps(commands),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]

"""The scripts for completion in real shells: TAB is pressed in an interactive one, and the resulting line is read."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from flaxcnn.cli import COMMANDS
from flaxcnn.command_line import flags_of, short_flags

LINES = [
    ("flaxcnn tra", "flaxcnn train"),
    ("flaxcnn lr", "flaxcnn lr-find"),
    ("flaxcnn train paper", "flaxcnn train paper_mnist"),
    ("flaxcnn sweep mnist_l", "flaxcnn sweep mnist_lr"),
    ("flaxcnn study arch", "flaxcnn study architectures"),
    ("flaxcnn train --optimizer.learn", "flaxcnn train --optimizer.learning_rate"),
    ("flaxcnn train --optimizer.learning_rate 1 --epo", "flaxcnn train --optimizer.learning_rate 1 --epo"),
    ("flaxcnn train --optimizer.name adamw --schedule.name cos", "{} cosine"),
    ("flaxcnn train --batch-size au", "{} auto"),
    ("flaxcnn train --logging.tensorboard --training.seed 3 --profi", "{} --profile"),
    ("flaxcnn train --logging.tensorboard paper", "{} paper_mnist"),
    ("flaxcnn sweep --executor proc", "{} processes"),
    ("flaxcnn sweep --searcher gri", "{} grid"),
    ("flaxcnn sweep --search mnist", "{} mnist_lr"),
    ("flaxcnn resume my-r", "{} my-run"),
    ("flaxcnn evaluate my-run --data.s", "{} --data.source"),
    ("flaxcnn train --out my-r", "{} my-run"),
    ("flaxcnn train my-c", "{} my-config.py"),
    ("flaxcnn completion fi", "flaxcnn completion fish"),
    ("flaxcnn train --model small", "{} small_cnn"),
    ("flaxcnn data --no_du", "{} --no_duplicates"),
]
EXPECTED = [completed.replace("{}", line.rpartition(" ")[0]) for line, completed in LINES]


@pytest.fixture
def script(flaxcnn, tmp_path):
    (tmp_path / "my-run").mkdir()
    (tmp_path / "my-config.py").touch()

    def write(shell):
        done = flaxcnn("completion", shell)
        assert done.returncode == 0, done.stderr
        path = tmp_path / f".script.{shell}"
        path.write_text(done.stdout)
        return path

    return write


class Terminal:
    """An interactive shell at the other end of a pseudo-terminal."""

    def __init__(self, words, folder):
        self.process, self.fd = None, None
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe(words[0], words, {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "PS1": "$ "})
        self.pid, self.said = pid, ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern):
        """Wait for what the shell says to match, and return the match; what stands before it is done with."""
        end = time.monotonic() + 60
        while (found := re.search(pattern, self.said)) is None:
            assert time.monotonic() < end, self.said
            if select.select([self.fd], [], [], 1.0)[0]:
                self.said += os.read(self.fd, 65536).decode(errors="replace")
        self.said = self.said[found.end() :]
        return found

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.mark.parametrize(
    "words", [["bash", "--norc", "--noprofile", "-i"], ["zsh", "-f", "-i"]], ids=lambda words: words[0]
)
def test_tab_completes_a_line_as_a_user_expects(words, script, tmp_path):
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    path = script(words[0])
    shell = Terminal(words, tmp_path)
    try:
        if words[0] == "zsh":
            shell.type("autoload -U compinit && compinit -u -D; bindkey -e; unsetopt zle_bracketed_paste\n")
        shell.type(f"source {path}; echo re''ady\n")
        shell.until("ready")
        completed = []
        for number, (line, _) in enumerate(LINES):
            # Ctrl-A leads to the begin of the line, where `echo` makes of the command what is printed.
            shell.type(f"{line}\t\x01echo @{number}: \x05@\n")
            found = shell.until(rf"(?m)^@{number}: ([^@\r\n]*?) ?@\r?$")
            completed.append(found[1].rstrip("/"))  # zsh takes the slash of a folder back where the line ends
    finally:
        shell.close()
    assert completed == EXPECTED


def test_fish_completes_a_line_as_a_user_expects(script, tmp_path):
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish here")
    path = script("fish")
    for line, expected in zip((line for line, _ in LINES), EXPECTED, strict=True):
        words = [fish, "--no-config", "-c", f"source {path}; complete -C '{line}'"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        offered = {each.partition("\t")[0].rstrip("/") for each in done.stdout.splitlines()}
        if expected == line or "--batch-size" in line:
            continue
        assert expected.rpartition(" ")[2] in offered, (line, done.stdout, done.stderr)


def test_every_option_of_every_command_is_in_the_script(script):
    text = script("bash").read_text()
    for name, command in COMMANDS.items():
        (options,) = re.findall(rf'^        {name}\) options="(.*?)"', text, re.MULTILINE)
        flags = flags_of(command.options)
        expected = {"--help", "--debug", *(f"--{flag}" for flag in (*flags, *short_flags(flags)))}
        assert set(options.split()) == expected


@pytest.mark.parametrize("words", [("--tyro-print-completion", "bash"), ("train", "--tyro-print-completion", "bash")])
def test_tyros_option_is_answered_with_the_command_that_completes_all(words, flaxcnn):
    done = flaxcnn(*words)
    assert done.returncode == 2
    assert done.stderr == (
        "flaxcnn: --tyro-print-completion: unknown option. To print completions: flaxcnn completion bash\n"
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [((), "SHELL is missing"), (("tcsh",), "tcsh: no completion for this shell; expected bash or zsh or fish")],
)
def test_a_shell_that_is_not_known_is_refused(words, part, flaxcnn):
    done = flaxcnn("completion", *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert part in done.stderr

"""The commands that compute start again where that gives them huge pages, and nowhere else."""

import os
import subprocess
import sys

import pytest

from flaxcnn import huge_pages

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="huge pages are Linux's")
GLIBC = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc") if sys.platform == "linux" else False


@pytest.fixture
def setting(tmp_path):
    """Return a function that writes a file such as the system's and returns its path."""

    def write(text):
        path = tmp_path / "enabled"
        path.write_text(text, encoding="ascii")
        return path

    return write


@LINUX
@pytest.mark.skipif(not GLIBC, reason="needs the GNU C library")
@pytest.mark.parametrize(
    ("text", "needed"),
    [("always [madvise] never\n", True), ("[always] madvise never\n", False), ("always madvise [never]\n", False)],
)
def test_only_a_system_that_waits_to_be_asked_needs_it(text, needed, setting):
    assert huge_pages.needed({}, setting(text)) is needed
    assert not huge_pages.needed({huge_pages.VARIABLE: "glibc.malloc.arena_max=1"}, setting(text))  # the user's own


def test_a_system_without_the_setting_needs_nothing(tmp_path):
    assert not huge_pages.needed({}, tmp_path / "none")


PROGRAM = """
import os, sys
from pathlib import Path
from flaxcnn import huge_pages
asked = huge_pages.VARIABLE in os.environ
huge_pages.needed.__defaults__ = (Path(sys.argv[1]),)
print(os.getpid(), asked, sys.argv[1:], flush=True)
huge_pages.start_again()
print("end", os.environ.get(huge_pages.VARIABLE), sys.argv[2:])
"""


@LINUX
@pytest.mark.skipif(not GLIBC, reason="needs the GNU C library")
def test_the_process_starts_once_more_as_itself_with_its_arguments(setting, tmp_path):
    path = setting("always [madvise] never\n")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != huge_pages.VARIABLE}
    words = [sys.executable, str(program), str(path), "--name", "two words"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate()
    arguments = [str(path), "--name", "two words"]
    assert said.splitlines() == [
        f"{process.pid} False {arguments}",
        f"{process.pid} True {arguments}",
        f"end {huge_pages.ASKS} {arguments[1:]}",
    ]
    assert process.returncode == 0


WITHOUT_OUTPUT = """
import os, sys
from pathlib import Path
from flaxcnn import huge_pages
huge_pages.needed.__defaults__ = (Path(sys.argv[1]),)
huge_pages.start_again()
Path(sys.argv[2]).write_text(f"end {os.environ.get(huge_pages.VARIABLE)}", encoding="ascii")
"""


@LINUX
@pytest.mark.skipif(not GLIBC, reason="needs the GNU C library")
def test_a_process_whose_output_is_closed_starts_once_more_too(setting, tmp_path):
    path = setting("always [madvise] never\n")
    program, end = tmp_path / "program.py", tmp_path / "end"
    program.write_text(WITHOUT_OUTPUT, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != huge_pages.VARIABLE}
    words = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", sys.executable, str(program), str(path), str(end)]
    assert subprocess.run(words, env=environment).returncode == 0
    assert end.read_text(encoding="ascii") == f"end {huge_pages.ASKS}"

"""The notebook of the docs runs from its first cell to its last, in one process, in an empty folder."""

import json
import subprocess
import sys

import pytest

from tests.test_readme import README

NOTEBOOK = README.parent / "docs" / "mnist.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
RUN = """
import json, sys

names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))["cells"], 1):
    if cell["cell_type"] == "code":
        print(f"cell {number}", flush=True)
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
"""


def test_it_has_15_cells_and_no_output():
    assert len(CELLS) == 15
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert cell["source"][0].startswith("# ")  # what it does


@pytest.mark.slow
def test_its_cells_run_in_order_and_do_what_they_say(tmp_path, command_environment):
    words = [sys.executable, "-c", RUN, str(NOTEBOOK)]
    done = subprocess.run(words, cwd=tmp_path, env=command_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"cell {len(CELLS) - 1}" in done.stdout
    assert (tmp_path / "runs" / "notebook" / "digits.fcnn").exists()

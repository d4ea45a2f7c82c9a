"""Imports made ahead in a thread."""

import subprocess
import sys

# The first import ends only once the process does.
ENDS_WHILE_IMPORTING = """
import threading
from flaxcnn.runs import ahead

def slow():
    threading.main_thread().join()
    print("first", flush=True)

ahead.import_orbax = slow
ahead.import_matplotlib = lambda: print("pictures", flush=True)
ahead.import_ahead(pictures=True)
"""


def test_a_process_that_ends_waits_for_the_import_at_hand_and_skips_the_others():
    ended = subprocess.run([sys.executable, "-c", ENDS_WHILE_IMPORTING], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "first\n", "")

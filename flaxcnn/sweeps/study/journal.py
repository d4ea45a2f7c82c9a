"""The journal of a sweep: what each process did and when. The study holds the trials' current state."""

import json
import os
import time
from pathlib import Path

from flaxcnn.files import cannot_write, open_own
from flaxcnn.sweeps.study.owners import this_process


class Journal:
    """A file of JSON lines in a folder that all processes of a sweep share; each process has a file of its own.

    A line is written after the study has it, so what stands in the journal did happen; of what happened, the last line
    is missing where a process was killed before it could write it.

    Args:
        folder: made with the first line.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def record(self, event: str, **fields: object) -> None:
        """Append an event with the time, in seconds of the system's clock.

        Raises:
            RunFolderError: the file cannot be written.
        """
        owner = this_process()
        path = self.folder / f"{owner.host}-{owner.pid}-{owner.started}.jsonl"
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One write: neither a thread nor a kill leaves half a line.
            with open_own(path) as file:
                os.write(file.fileno(), line.encode())
        except OSError as error:
            raise cannot_write(path, error) from error

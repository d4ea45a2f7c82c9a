"""What a finished study leaves: its table in three forms, its picture and its page."""

from collections.abc import Callable
from functools import partial

from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.studies.outcome import Outcome
from flaxcnn.studies.page import page
from flaxcnn.studies.picture import draw_metric_over_speed
from flaxcnn.studies.record import study_json
from flaxcnn.studies.tables import csv_table, markdown_page

PICTURE = "accuracy_over_speed.png"


def write_report(folder: RunFolder, outcome: Outcome, again: str, warn: Callable[[str], None]) -> None:
    """Write `study.json`, `table.md`, `table.csv`, the picture and `study.html`; raises as `RunFolder.write` does.

    Args:
        folder: the study's.
        outcome: of it.
        again: the command that makes it again.
        warn: called with a line where the picture cannot be drawn.
    """
    folder.write_json("study.json", study_json(outcome, again))
    folder.write_text("table.md", markdown_page(outcome, again))
    folder.write_text("table.csv", csv_table(outcome))
    drawn = folder.write_picture(PICTURE, partial(draw_metric_over_speed, outcome), warn)
    picture = (folder.path / PICTURE).read_bytes() if drawn else None
    content = page(outcome, again, picture)
    folder.write("study.html", lambda path: _write(path.write_bytes, content))


def _write(write: Callable[[bytes], int], content: bytes) -> None:
    write(content)

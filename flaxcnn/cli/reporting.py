"""The command `report`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import Positional

from flaxcnn.cli.computing import computing
from flaxcnn.cli.overrides import DataOverride, ModelOverride, TaskOverride, named_again
from flaxcnn.command_line import parse


@dataclass(frozen=True)
class ReportOptions:
    """Write one HTML page about a finished run, or about several beside each other, that works without a network."""

    runs: Positional[tuple[str, ...]] = ()
    """Folders of finished runs. One has a report of its own; several are compared with the first."""
    out: str | None = None
    """File of the page; an earlier report is replaced. None for report.html in the folder of a single run."""
    data: DataOverride = field(default_factory=DataOverride)
    task: TaskOverride = field(default_factory=TaskOverride)
    model: ModelOverride = field(default_factory=ModelOverride)


def report(arguments: Sequence[str]) -> int:
    """Write the report of one run, or of several."""
    options = parse(ReportOptions, arguments, program="flaxcnn report")
    import sys

    from flaxcnn.errors import ConfigError, printable

    if not options.runs:
        raise ConfigError("RUN is missing", where="flaxcnn report", fix="name the folder of a finished run")
    twice = next((run for place, run in enumerate(options.runs) if run in options.runs[:place]), None)
    if twice is not None:
        raise ConfigError("named twice", where=twice, fix="name each run once")
    with computing():
        from flaxcnn.reports.material import gather
        from flaxcnn.reports.page import page
        from flaxcnn.reports.writing import report_file, write
        from flaxcnn.runs.folder.run_folder import open_run_folder

        folders = [open_run_folder(run) for run in options.runs]
        path = report_file(options.out, folders)
        named, data = named_again(options.task, options.model, options.data), options.data
        alone = len(folders) == 1
        gathered = [
            gather(run, folder, named, data.source, data.dir, with_model=alone)
            for run, folder in zip(options.runs, folders, strict=True)
        ]
        content = page(gathered)
        write(path, content)
    for run in gathered:
        for line in run.lacking:
            print(f"flaxcnn: {printable(f'{run.called}: {line}')}", file=sys.stderr)
    print(printable(f"{path}  {len(content) / 2**20:,.1f} MiB"))
    return 0

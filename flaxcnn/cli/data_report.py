"""The report of `flaxcnn data`: an HTML page, a summary of the findings, and an error for them where that is asked."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flaxcnn.cli.computing import computing
from flaxcnn.errors import ConfigError, DataError, printable

if TYPE_CHECKING:
    from flaxcnn.data import Dataset, Options
    from flaxcnn.data.inspection.findings import Finding


def report(
    source: str,
    options: "Options",
    out: Path | None,
    run: str | None,
    named: dict[str, str | None],
    duplicates: bool,
    strict: bool,
) -> int:
    """Describe a data set, print the findings, and write the page.

    Args:
        source: of the data.
        options: how its files are read; those that cannot be used are findings.
        out: the page; None for none.
        run: folder of a run whose confident disagreements are findings; None for none.
        named: the run's user code, by field.
        duplicates: whether to look for duplicates.
        strict: whether findings are an error.

    Raises:
        DataError: the data cannot be read; or `strict`, and there are findings.
    """
    from flaxcnn.data import describe
    from flaxcnn.data.inspection.examples import Examples
    from flaxcnn.data.inspection.findings import find_all, in_one_line, summary
    from flaxcnn.data.inspection.page import page
    from flaxcnn.files import cannot_write

    dataset, of_labels = _loaded(source, options, run, named)
    print("\n".join(map(printable, describe(dataset))), flush=True)
    examples = Examples(dataset)
    findings = find_all(examples, duplicates, lambda doing: print(f"\n{doing}", flush=True)) + of_labels
    if out is not None:
        try:
            out.write_bytes(page(examples, findings))
        except OSError as error:
            raise cannot_write(out, error) from error
    print("\n".join(["", "findings" if findings else "no findings", *summary(findings)]))
    if out is not None:
        print(f"report  {out}")
    if strict and findings:
        raise DataError(
            f"{sum(finding.count for finding in findings):,} findings", where=source, found=in_one_line(findings)
        )
    return 0


def _loaded(
    source: str, options: "Options", run: str | None, named: dict[str, str | None]
) -> tuple["Dataset", list["Finding"]]:
    """Return the data, and the findings of a run about its labels."""
    from dataclasses import replace

    from flaxcnn.data import Options, load
    from flaxcnn.data.sources.by_name import uses

    if run is None:
        return load(source, replace(options, on_bad="skip") if "on_bad" in uses(source) else options), []
    if options != Options(dir=options.dir):
        raise ConfigError("not together with --run", where="--data", fix="leave it out: the run recorded its options")
    with computing():
        from flaxcnn.runs.folder.run_folder import open_run_folder
        from flaxcnn.runs.tools.label_errors import check_labels

        dataset, findings = check_labels(
            open_run_folder(run),
            source,
            None if options.dir is None else os.fspath(options.dir),
            {**named, "data.source": source},
        )
    return dataset, findings

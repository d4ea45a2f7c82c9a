"""What a run was: what was trained on what, in which environment, and the commands that repeat it."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from flaxcnn.config import GIVEN, Experiment, to_json
from flaxcnn.data import Dataset
from flaxcnn.pages.html import text
from flaxcnn.reports.material import Material
from flaxcnn.runs.folder.named import options_again
from flaxcnn.runs.folder.record import recorded_code

_MOST_CHANGES = 50


def head(run: Material) -> Iterator[str]:
    """Yield what was trained on what, as HTML."""
    yield f"<section><h2>What was trained on what</h2><dl>{''.join(_terms(run))}</dl>"
    yield from (f'<p class="warn">{text(line, 600)}</p>' for line in run.lacking)
    yield "</section>"


def environment(run: Material) -> Iterator[str]:
    """Yield the versions and the machine that a run recorded, as HTML."""
    found = run.environment
    yield "<section><h2>Environment</h2>"
    if later := found.get("resumed"):
        yield f"<p>The run was resumed {len(later):,} times; environment.json says what differed then.</p>"
    rows = [("Python", str(found.get("python", "–"))), *_mapping(found.get("packages"))]
    rows += [("platform", str(found.get("platform", "–"))), *_mapping(found.get("hardware"))]
    rows += [("git commit of flaxcnn", str(found["git_commit"]))] if found.get("git_commit") else []
    yield f"<dl>{''.join(_term(name, value) for name, value in rows if value)}</dl></section>"


def reproduction(run: Material) -> Iterator[str]:
    """Yield the commands that repeat a run and check it, and the digests that they have to give, as HTML."""
    yield "<section><h2>How to reproduce it</h2>"
    chosen = run.experiment
    passed = [name for name in (chosen.data.source, chosen.model.name, chosen.task.name) if name.startswith(GIVEN)]
    lines = [shlex.join(["flaxcnn", "evaluate", run.called, *options_again(to_json(chosen))])]
    if passed:
        yield f"<p>It was trained from Python, with {text(', '.join(passed))}: no command repeats that. It had:</p>"
        lines = [training_command(chosen)]
    else:
        yield "<p>Train it again, and check the run that there is:</p>"
        lines.insert(0, training_command(chosen))
    yield "<pre>" + "\n".join(text(line, 20_000) for line in lines) + "</pre>"
    yield (
        "<p>On a CPU, the same versions of flaxcnn and jax on the same kind of processor give the same bits. The data "
        "have to be those of these digests, SHA-256:</p>"
    )
    digests = [*_mapping(run.environment.get("data_sha256"))]
    digests += [(f"code of {field}", digest) for field, digest in _code(run)]
    digests += [(name, str(run.summary[f"{name}_sha256"])) for name in ("weights", "metrics")]
    yield f"<dl>{''.join(_term(name, digest) for name, digest in digests)}</dl>"
    if changes := run.config.changes[:_MOST_CHANGES]:
        yield "<p>The run was continued with other values than it began with:</p><ul>"
        for each in changes:
            line = f"from step {each['step']:,}: {each['field']} {each['now']}, before {each['before']}"
            yield f"<li>{text(line)}</li>"
        yield "</ul>"
    yield "</section>"


def training_command(experiment: Experiment) -> str:
    """Return a command that trains an experiment: an option for each field that is not the default.

    >>> from flaxcnn.config import Training
    >>> training_command(Experiment(training=Training(epochs=3)))
    'flaxcnn train --training.epochs 3'
    """
    before, now = to_json(Experiment()), to_json(experiment)
    words = ["flaxcnn", "train"]
    for section, fields in now.items():
        for name, value in fields.items():
            if value == before[section][name]:
                continue
            if isinstance(value, bool):
                words.append(f"--{section}.{'' if value else 'no_'}{name}")
                continue
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{section}.{name}", *map(str, values)]
    return shlex.join(words)


def _terms(run: Material) -> Iterator[str]:
    experiment, summary, shape = run.experiment, run.summary, run.form.image_shape
    training, optimizer = experiment.training, experiment.optimizer
    yield _term("model", f"{experiment.model.name}, {summary['parameters']:,} parameters")
    if experiment.model.init is not None:
        yield _term("begun with", experiment.model.init)
    yield _term("task", f"{run.task.name}: {run.task.described(run.form.targets, run.form.target_names)}")
    yield _term("data", experiment.data.source)
    kinds = [f"{len(run.test.index_N):,} test"]
    if run.validation is not None:
        kinds.append(f"{len(run.validation.index_N):,} validation")
    if run.training is not None:
        kinds.insert(0, f"{len(run.training):,} training")
    yield _term("images", f"{', '.join(kinds)}; {shape[0]}×{shape[1]}×{shape[2]}")
    if run.groups is not None:
        yield _term("groups", f"{run.groups:,} in the test images, never divided between splits")
    yield from (_term("note", note) for note in _notes(run.dataset))
    early = ", stopped early" if summary["stopped_early"] else ""
    yield _term("steps", f"{summary['steps']:,} of {training.batch_size:,} images, seed {summary['seed']}{early}")
    if summary["weights_step"] != summary["steps"]:
        yield _term("weights", f"of step {summary['weights_step']:,}, the best by {experiment.checkpoint.keep_best}")
    rate = f"learning rate {optimizer.learning_rate:g}"
    yield _term("optimizer", f"{optimizer.name}, {rate}, {experiment.schedule.name}")
    seconds = summary.get("total_seconds")
    took = f", {seconds:,.1f} s in all" if isinstance(seconds, int | float) else ""
    yield _term("computed on", f"{summary['device']}{took}")


def _notes(dataset: Dataset | None) -> tuple[str, ...]:
    return () if dataset is None else tuple(dataset.notes)


def _term(name: str, value: object) -> str:
    return f"<dt>{text(name)}</dt><dd>{text(value)}</dd>"


def _mapping(found: Any) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in found.items()] if isinstance(found, Mapping) else []


def _code(run: Material) -> list[tuple[str, str]]:
    return sorted(recorded_code(run.folder).items())

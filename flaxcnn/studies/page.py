"""A study's page: one HTML file with everything that it found, without anything from elsewhere.

Everything that comes from files and from the user (names, classes, settings) goes through `text`.
"""

import base64
import math
from collections.abc import Iterator, Sequence

import numpy as np

from flaxcnn.pages.charts import share
from flaxcnn.pages.html import document, text
from flaxcnn.pictures import PictureError, drawn
from flaxcnn.studies.outcome import Outcome, Trained
from flaxcnn.studies.plan import Fold, Setting
from flaxcnn.studies.tables import commonest_text, key
from flaxcnn.studies.words import shown, verdicts_of, warnings_of, worded

_MOST_CLASSES = 200  # of a table
_MOST_FOLDS = 30  # of a list of sizes


def page(outcome: Outcome, again: str, picture: bytes | None) -> bytes:
    """Return the page of a study, in UTF-8; it has no script, and refers to nothing outside itself.

    Args:
        outcome: of the study.
        again: the command that makes it again.
        picture: the PNG of the metric over speed; None where it could not be drawn.
    """
    parts = [
        *_head(outcome),
        *_table(outcome),
        *_picture(outcome, picture),
        *_differences(outcome),
        *_data(outcome),
        *_per_class(outcome),
        *_pictures(outcome),
        *_searches(outcome),
        *_budget(outcome),
        f"<section><h2>Make it again</h2><pre>{text(again)}</pre>",
        "<p>The same command continues a study that was stopped, to the same table; only times differ.</p></section>",
    ]
    return document(f"Study: {outcome.plan.name}", parts)


def _head(outcome: Outcome) -> Iterator[str]:
    yield f"<header><h1>{text(outcome.plan.name)}</h1>"
    if outcome.plan.question:
        yield f"<p>{text(outcome.plan.question)}</p>"
    yield "</header><section><h2>Verdict</h2>"
    first, *_ = verdicts_of(outcome)
    yield f'<p class="verdict">{text(first)}</p>'
    for line in warnings_of(outcome):
        yield f'<p class="warn">{text(line)}</p>'
    yield "</section>"


def _table(outcome: Outcome) -> Iterator[str]:
    budget = "" if outcome.same_budget else '<th class="number">budget</th>'
    heads = "".join(f'<th class="number">{text(worded(name))}{_unit(outcome, name)}</th>' for name in outcome.tabled)
    yield "<section><h2>Table</h2>"
    yield f'<div class="wide table"><table><thead><tr><th>entry</th>{heads}<th class="number">parameters</th>'
    yield f'<th class="number">multiply-<br>adds</th>{budget}<th class="number">training<br>seconds</th>'
    yield '<th class="number">images<br>a second</th></tr></thead><tbody>'
    for name, trained in outcome.trained.items():
        kind = ' class="best"' if name in outcome.verdict.best else ""
        numbers = "".join(_cell(outcome, name, metric) for metric in outcome.tabled)
        told = "" if outcome.same_budget else f'<td class="number">{text(trained.budget)}</td>'
        yield (
            f'<tr{kind}><th>{text(name)}</th>{numbers}<td class="number">{trained.parameters / 1e6:,.4g} M</td>'
            f'<td class="number">{trained.speed.multiply_adds / 1e6:,.4g} M</td>{told}'
            f'<td class="number">{np.mean(trained.train_seconds):,.1f}</td>'
            f'<td class="number">{trained.speed.images_per_second:,.0f}</td></tr>'
        )
    columns = len(outcome.tabled) + (4 if outcome.same_budget else 5)
    if outcome.examples.commonest is not None:
        always = "".join(f'<td class="number">{commonest_text(outcome, name)}</td>' for name in outcome.tabled)
        yield f'<tr><th>commonest class</th>{always}<td colspan="{columns - len(outcome.tabled)}"></td></tr>'
    for name, reason in outcome.failed.items():
        yield f'<tr class="failed"><th>{text(name)}</th><td colspan="{columns}">not trained: {text(reason)}</td></tr>'
    yield f"</tbody></table></div><p>{text(key(outcome))} Bold: cannot be told from the best.</p></section>"


def _unit(outcome: Outcome, metric: str) -> str:
    kind = outcome.task.metrics[metric]
    words = [f"[{kind.unit}]" if kind.unit else "[%]" if kind.fraction else "", "" if kind.higher_is_better else "↓"]
    return f"<br><small>{text(' '.join(filter(None, words)))}</small>" if any(words) else ""


def _cell(outcome: Outcome, name: str, metric: str) -> str:
    kind, found = outcome.task.metrics[metric], outcome.results[name].metrics[metric]
    half = found.over_seeds.high - found.over_seeds.mean
    spread = f" ± {shown(half, kind)}" if math.isfinite(half) else ""
    inside = ""
    if found.over_examples is not None and all(map(math.isfinite, found.over_examples)):
        low, high = (shown(end, kind) for end in found.over_examples)
        inside = f"<small>[{low}, {high}]</small>"
    return f'<td class="number">{shown(found.mean, kind)}{spread}{inside}</td>'


def _picture(outcome: Outcome, picture: bytes | None) -> Iterator[str]:
    if picture is None:
        return
    what = f"{worded(outcome.main)} over speed"
    yield f"<section><h2>{text(what[:1].upper() + what[1:])}</h2>"
    yield f'<div class="picture"><img alt="{text(what)}" src="{_uri(picture)}"></div></section>'


def _differences(outcome: Outcome) -> Iterator[str]:
    others = verdicts_of(outcome)[1:]
    if not others:
        return
    yield "<section><h2>Which can be told apart</h2><ul>"
    yield from (f"<li>{text(line)}</li>" for line in others)
    units = "groups" if outcome.examples.groups is not None else "examples"
    seeds = (
        "and the spread of each entry over its trainings"
        if outcome.replicates > 1
        else "but not other seeds, of which there is one"
    )
    pairs = len(outcome.verdict.differences) // 2
    corrected = f"for all {pairs} pairs together, by Bonferroni's correction" if pairs > 1 else "for the pair"
    yield (
        f"</ul><p>Each pair is compared on the same examples, by the mean over all trainings. The test counts other "
        f"{units} in (a paired bootstrap), {seeds}. The interval in brackets and p hold {corrected}: of twenty studies "
        "of entries that are equally good, one may name a difference.</p></section>"
    )


def _data(outcome: Outcome) -> Iterator[str]:
    examples, plan = outcome.examples, outcome.plan
    yield f"<section><h2>Data</h2><dl><dt>source</dt><dd>{text(examples.source)}</dd>"
    yield f"<dt>tested</dt><dd>{examples.tested:,} examples, each exactly once by every seed</dd>"
    groups = "none given" if examples.groups is None else f"{examples.groups:,}, never divided between splits"
    yield f"<dt>groups</dt><dd>{groups}</dd>"
    if plan.folds is None:
        training, test = next(iter(examples.sizes.values()))
        yield f"<dt>split</dt><dd>{training:,} training and {test:,} test examples</dd>"
    else:
        times = f", divided {plan.repeats} times" if plan.repeats > 1 else ""
        yield f"<dt>folds</dt><dd>{plan.folds}{times}; each is the test split once, the others are for training</dd>"
        sizes = [f"{test:,}" for _, (_, test) in list(examples.sizes.items())[:_MOST_FOLDS]]
        more = ", …" if len(examples.sizes) > _MOST_FOLDS else ""
        yield f"<dt>test examples</dt><dd>{', '.join(sizes)}{more}</dd>"
    seeds = ", ".join(map(str, plan.seeds))
    yield f"<dt>seeds</dt><dd>{seeds}</dd>"
    shapes = {"×".join(map(str, each.speed.image_shape)) for each in outcome.trained.values()}
    yield f"<dt>images</dt><dd>{text(', '.join(sorted(shapes)))}</dd>"
    yield f"<dt>computed on</dt><dd>{text(outcome.device)}</dd></dl>"
    yield from (f"<p>{text(note)}</p>" for note in examples.notes)
    yield "</section>"


def _per_class(outcome: Outcome) -> Iterator[str]:
    counts, names = outcome.examples.counts, outcome.examples.names
    recalls = {name: result.per_class.get("recall") for name, result in outcome.results.items()}
    if counts is None or any(recall is None for recall in recalls.values()) or len(names) != len(counts):
        return
    head = "".join(f'<th class="number">{text(name)}</th>' for name in recalls)
    yield "<section><h2>Recall of each class</h2>"
    yield "<p>Of a class's examples, the percentage predicted as it; the mean over all trainings.</p>"
    yield f'<div class="wide table"><table><thead><tr><th>class</th><th class="number">examples</th>{head}'
    yield '<th class="fill"></th></tr></thead><tbody>'
    most = max(1, *counts)
    for place, (called, count) in enumerate(zip(names[:_MOST_CLASSES], counts, strict=False)):
        cells = "".join(
            f'<td class="number">{100 * recall[place]:.1f}</td>' if count else '<td class="number">–</td>'
            for recall in recalls.values()
            if recall is not None
        )
        yield f'<tr><th>{text(called)}</th><td class="number">{count:,}</td>{cells}'
        yield f'<td class="fill">{share(count / most)}</td></tr>'
    yield "</tbody></table></div>"
    if len(names) > _MOST_CLASSES:
        yield f"<p>And {len(names) - _MOST_CLASSES:,} more, in study.json.</p>"
    yield "</section>"


def _pictures(outcome: Outcome) -> Iterator[str]:
    """Show the task's own pictures of the best entry's predictions, such as the confusion of classes."""
    name, trained = next(iter(outcome.trained.items()))
    predicted = trained.replicates[0].predicted()._replace(names=outcome.examples.names)
    found = []
    for picture in outcome.task.pictures(predicted):
        try:
            found.append((picture.name.rpartition(".")[0], drawn(picture.name, picture.draw)))
        except PictureError:
            continue
    if not found:
        return
    of = f"seed {outcome.plan.seeds[0]}" + (", division 0" if outcome.plan.repeats > 1 else "")
    yield f"<section><h2>Predictions of {text(name)}</h2><p>Of {of}, all tested examples.</p>"
    yield '<div class="pictures">'
    for called, content in found:
        yield f'<figure class="picture"><img alt="{text(called)}" src="{_uri(content)}"></figure>'
    yield "</div></section>"


def _searches(outcome: Outcome) -> Iterator[str]:
    searched = {name: each for name, each in outcome.trained.items() if each.searches}
    if not searched:
        yield "<section><h2>Search</h2><p>Nothing was searched: every value is that of the study's file.</p></section>"
        return
    yield "<section><h2>Search</h2>"
    yield (
        "<p>Each setting was trained on the fold's training examples without a part that was set aside for validation, "
        "and ranked on that part. The test examples were not looked at. The chosen setting was then trained on all "
        "training examples.</p>"
    )
    for name, each in searched.items():
        yield f"<h3>{text(name)}</h3>"
        yield from _searched(each)
    yield "</section>"


def _searched(trained: Trained) -> Iterator[str]:
    folds = list(trained.searches)
    head = "".join(f'<th class="number">{text(_called(fold))}</th>' for fold in folds)
    yield f'<div class="wide table"><table class="narrow"><thead><tr><th>setting</th>{head}</tr></thead><tbody>'
    for place, setting in enumerate(trained.entry.settings):
        cells = "".join(_validated(trained, fold, place) for fold in folds)
        yield f"<tr><th>{text(_setting(setting))}</th>{cells}</tr>"
    yield "</tbody></table></div>"


def _validated(trained: Trained, fold: Fold, place: int) -> str:
    search = trained.searches[fold]
    value = search.values[place]
    words = f'<span title="{text(search.reasons[place])}">failed</span>' if value is None else f"{value:.4f}"
    chosen = f'<span class="chosen">{words} ✓</span>' if place == search.chosen else words
    return f'<td class="number">{chosen}</td>'


def _budget(outcome: Outcome) -> Iterator[str]:
    yield "<section><h2>Budget</h2><ul>"
    for name, each in outcome.trained.items():
        experiment, probe = each.entry.experiment, each.entry.probe
        if probe is not None:
            yield f"<li>{text(name)}: a {text(probe.words)} of {text(probe.model)}'s features, {text(probe.init)}</li>"
            continue
        optimizer, schedule = experiment.optimizer, experiment.schedule.name
        rate = "searched" if "optimizer.learning_rate" in each.entry.searched else f"{optimizer.learning_rate:g}"
        yield (
            f"<li>{text(name)}: {text(experiment.model.name)}, {text(each.budget)} of batches of "
            f"{experiment.training.batch_size:,}, {each.images_seen:,.0f} images seen; {optimizer.name}, learning rate "
            f"{rate}, {schedule}</li>"
        )
    yield "</ul></section>"


def _setting(setting: Setting) -> str:
    return ", ".join(f"{path} {value}" for path, value in setting.items())


def _called(fold: Fold) -> str:
    if fold.number is None:
        return "validation"
    return f"fold {fold.number}" + (f", division {fold.repeat}" if fold.repeat else "")


def _uri(png: bytes | Sequence[int]) -> str:
    return f"data:image/png;base64,{base64.b64encode(bytes(png)).decode('ascii')}"

"""Probe a network on a source: `flaxcnn probe`."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flaxcnn.data import Options
from flaxcnn.data.photographs.cache import Cache
from flaxcnn.data.sources.by_name import uses
from flaxcnn.errors import DataError
from flaxcnn.probing.division import Divided, divided
from flaxcnn.probing.examples import Head
from flaxcnn.probing.extra import require_sklearn
from flaxcnn.probing.features import Features, Mask, features_of
from flaxcnn.probing.heads import commonest, neighbours, tree
from flaxcnn.probing.linear import linear
from flaxcnn.probing.measure import Result, measure
from flaxcnn.probing.network import Network
from flaxcnn.probing.shortcuts import cautions, facts_of, without_groups
from flaxcnn.runs.first_choice import task_for
from flaxcnn.tasks import Task, create_task
from flaxcnn.terminal import counter

_DECODING = "decoding {:,} of {:,} images"
_COMPUTING = "computing the features of {:,} of {:,} images"


class Probe(NamedTuple):
    """A network, probed on a source.

    Attributes:
        network: that was probed.
        data: on which.
        task: what was learned.
        features: how many of an image.
        results: by key: "linear", "neighbours" and "commonest"; with shortcuts also "border", "middle", "facts" and
            "leak", as far as the source has files and groups.
        cautions: what the shortcuts mean, a sentence each.
    """

    network: Network
    data: Divided
    task: Task
    features: int
    results: dict[str, Result]
    cautions: list[str]


def probe(
    network: Network,
    source: str,
    options: Options | None = None,
    *,
    every_fold: bool = True,
    c: Sequence[float] = (0.01,),
    count: int = 20,
    shortcuts: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Probe:
    """Probe a network on a source.

    Args:
        network: the network (`find_network`).
        source: as `flaxcnn.data.load` takes it.
        options: of the source (`options_for`); None for images as the network was given them.
        every_fold: with `options.folds`, whether each fold is the test split once, and not `options.fold` alone.
        c: of logistic regression, as `linear` takes it.
        count: of neighbours.
        shortcuts: whether to measure shortcuts, too.
        say: is called with lines on what is done.

    Raises:
        ConfigError: scikit-learn is not installed, or an option is out of range or does not fit.
        DataError: the data cannot be read, or do not fit the network.
    """
    require_sklearn()
    heads: dict[str, tuple[str, Head]] = {
        "linear": ("linear", linear(c)),
        "neighbours": (f"{count} neighbours", neighbours(count)),
        "commonest": ("without looking", commonest),
    }
    options = options_for(network, source, {}) if options is None else options
    data = divided(source, options, every_fold, counter(_DECODING))
    for line in data.dataset.notes:
        if len(data.parts) == 1 or "are the test split, fold" not in line:  # of several folds each is, in turn
            say(line)
    task = task_of(data)
    cache = Cache.of_user() if options.cache else None

    def computed(of: Divided, mask: Mask = "whole") -> Features:
        started = time.perf_counter()
        found = features_of(network, of.images, mask, cache, of.dataset.source, counter(_COMPUTING))
        kept = f"kept from before: {len(of.images):,} images"
        said = f"{found.computed:,} images in {time.perf_counter() - started:.1f} s" if found.computed else kept
        say(f"features{'' if mask == 'whole' else f' of the {mask}'}, {said}")
        return found

    whole = computed(data)
    results = {
        key: measure(title, head, task, data, whole.rows_NxF, whole.digests) for key, (title, head) in heads.items()
    }
    found: list[str] = []
    if shortcuts:
        learned = linear(c)
        masks: tuple[Mask, ...] = ("border", "middle")
        for mask in masks:
            masked = computed(data, mask)
            results[mask] = measure(f"{mask} alone", learned, task, data, masked.rows_NxF, masked.digests)
        facts = facts_of(data.dataset.files, data.names)
        if facts is not None:
            results["facts"] = measure("file facts alone", tree, task, data, facts, whole.digests)
        else:
            say("no image files, and so no file facts")
        ungrouped = without_groups(options)
        if ungrouped is not None:
            leaking = divided(source, ungrouped, every_fold, counter(_DECODING))
            again = computed(leaking)
            results["leak"] = measure("groups divided", learned, task, leaking, again.rows_NxF, again.digests)
        found = cautions(task, results)
    return Probe(network, data, task, whole.rows_NxF.shape[1], results, found)


def options_for(network: Network, source: str, given: Mapping[str, Any]) -> Options:
    """Return a source's options: those that are given, and the images as the network was given them.

    Args:
        network: whose `size`, `fit` and `channels` are taken, where the source uses such an option.
        source: as `flaxcnn.data.load` takes it.
        given: the fields of `flaxcnn.data.Options`; None for a size, a fit or channels as the network's.
    """
    known = uses(source)
    of_network = {name: value for name, value in network.preparation.items() if name in known and value is not None}
    return Options(**{**of_network, **{name: value for name, value in given.items() if value is not None}})


def task_of(data: Divided) -> Task:
    """Return the task of a data set's targets; raises DataError where they are none that a probe learns."""
    task = create_task(task_for(data.dataset))
    if task.detects:
        what, fix = "a probe learns no boxes", "add --data.target labels, or counts"
        raise DataError(what, where=data.dataset.source, expected="classes, labels or numbers", found="boxes", fix=fix)
    names = data.dataset.target_names
    task.check(data.targets, names, data.dataset.source)
    return task.fitted(data.targets, names)

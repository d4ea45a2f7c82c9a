"""The outcome of a study: what its table, its picture and its page say."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxcnn.evaluation.predictions import Predictions
from flaxcnn.evaluation.several_models import Difference, Verdict
from flaxcnn.runs.setup import Setup
from flaxcnn.studies.plan import Entry, Fold, Plan
from flaxcnn.studies.results import Result, class_counts, compared, result_of
from flaxcnn.studies.search import Search
from flaxcnn.studies.speed import Speed
from flaxcnn.tasks import Metric, Task


class Trained(NamedTuple):
    """All trainings of an entry.

    Attributes:
        entry: that was trained.
        replicates: the pooled predictions of each division and seed, in the order that all entries share.
        searches: of each fold; empty for an entry without a search.
        parameters: of the model.
        speed: of the model.
        steps: of each training.
        batch_size: images of a step, of each training.
        train_seconds: of each training.
    """

    entry: Entry
    replicates: Sequence[Predictions]
    searches: Mapping[Fold, Search]
    parameters: int
    speed: Speed
    steps: Sequence[int]
    batch_size: Sequence[int]
    train_seconds: Sequence[float]

    @property
    def images_seen(self) -> float:
        """Training images of a training, each as often as it was seen; the mean."""
        return float(np.mean([steps * size for steps, size in zip(self.steps, self.batch_size, strict=True)]))

    @property
    def mean_seconds(self) -> float:
        """Of a training."""
        return float(np.mean(self.train_seconds))

    @property
    def budget(self) -> str:
        """The length of each training in words, or which probe it is."""
        if self.entry.probe is not None:
            return self.entry.probe.words
        training = self.entry.experiment.training
        epochs = f"{training.epochs:,} {'epoch' if training.epochs == 1 else 'epochs'}"
        return epochs if training.steps is None else f"{epochs}, at most {training.steps:,} steps"


class Described(NamedTuple):
    """What is said of the data and the task, without the images.

    Attributes:
        task: fitted to the data.
        source: of the data.
        notes: of the source.
        names: of the classes, or of whatever the targets name.
        outputs: of a model.
    """

    task: Task
    source: str
    notes: Sequence[str]
    names: Any
    outputs: int

    @classmethod
    def of(cls, setup: Setup) -> "Described":
        """Return what is said of the data and the task of a setup."""
        dataset = setup.dataset
        return cls(setup.task, dataset.source, dataset.notes, dataset.target_names, setup.outputs)


class Examples(NamedTuple):
    """What was tested.

    Attributes:
        source: of the data, as `data.source`.
        notes: of the source.
        tested: how many examples there are.
        groups: how many groups they are in; None without groups.
        names: of the classes, or of whatever the targets name.
        counts: of the tested examples of each class; None without classes.
        sizes: of each fold: the training examples, and those of the test split.
        commonest: the share of the commonest class; None without classes.
    """

    source: str
    notes: Sequence[str]
    tested: int
    groups: int | None
    names: Any
    counts: Sequence[int] | None
    sizes: Mapping[Fold, tuple[int, int]]
    commonest: float | None

    @property
    def units(self) -> int:
        """How many independent units there are: groups, or examples where there are none."""
        return self.tested if self.groups is None else self.groups


class Outcome(NamedTuple):
    """What a study found.

    Attributes:
        plan: of the study.
        task: of its entries.
        main: the metric by which they are compared.
        trained: the entries that were trained to the end, by name, the best first.
        results: of these.
        failed: why each other one could not be.
        verdict: which can be told apart, controls aside.
        controls: by name, how the best entry differs from each control.
        examples: that were tested.
        device: on which it was computed.
    """

    plan: Plan
    task: Task
    main: str
    trained: Mapping[str, Trained]
    results: Mapping[str, Result]
    failed: Mapping[str, str]
    verdict: Verdict
    controls: Mapping[str, Difference]
    examples: Examples
    device: str

    @property
    def kind(self) -> Metric:
        """What the main metric is."""
        return self.task.metrics[self.main]

    @property
    def replicates(self) -> int:
        """How many times each example was predicted by an entry."""
        return len(self.plan.seeds) * self.plan.repeats

    @property
    def tabled(self) -> tuple[str, ...]:
        """The metrics of the table, the main one first."""
        return tuple(dict.fromkeys((self.main, *self.task.tabled)))

    @property
    def same_budget(self) -> bool:
        """Whether all entries were trained for as long."""
        return len({each.budget for each in self.trained.values()}) <= 1


def outcome_of(
    plan: Plan,
    described: Described,
    main: str,
    trained: Mapping[str, Trained],
    failed: Mapping[str, str],
    sizes: Mapping[Fold, tuple[int, int]],
    device: str,
) -> Outcome:
    """Return what a study found; one entry at least was trained.

    Args:
        plan: of the study.
        described: the data and the task.
        main: the metric by which entries are compared.
        trained: the trainings of each entry that has all of them, by name.
        failed: why each other one could not be trained.
        sizes: of each fold, the training examples and those of the test split.
        device: on which it was computed.
    """
    task = described.task
    whole = min(trained.values(), key=lambda each: each.entry.divides_groups).replicates[0]  # which knows the groups
    groups = None if whole.groups_N is None else len(np.unique(whole.groups_N))
    counts = class_counts(task, whole.targets, described.outputs)
    examples = Examples(
        described.source,
        described.notes if plan.folds is None else (),
        len(whole.index_N),
        groups,
        described.names,
        None if counts is None else counts.tolist(),
        sizes,
        None if counts is None else float(np.max(counts) / np.sum(counts)),
    )
    results = {name: result_of(task, each.replicates, main, whole.groups_N) for name, each in trained.items()}
    controls = [name for name, each in trained.items() if each.entry.is_control]
    judged = {name: result for name, result in results.items() if name not in controls} or results
    verdict = compared(task, judged, main, examples.units)
    order = (*verdict.order, *(name for name in controls if name not in verdict.order))
    beside = {  # each by itself: what is to be feared is that a control is as good
        name: compared(task, {one: results[one] for one in (order[0], name)}, main, examples.units)
        for name in order[len(verdict.order) :]
    }
    return Outcome(
        plan,
        task,
        main,
        {name: trained[name] for name in order},
        {name: results[name] for name in order},
        failed,
        verdict,
        {name: each.differences[order[0], name] for name, each in beside.items()},
        examples,
        device,
    )

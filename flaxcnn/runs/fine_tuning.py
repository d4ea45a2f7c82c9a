"""From an experiment to its plan: what is frozen, what begins later, and what learns slower."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import jax
from flax.traverse_util import flatten_dict

from flaxcnn.config import Experiment
from flaxcnn.contracts import Contract
from flaxcnn.errors import ConfigError, nearest
from flaxcnn.models.stages import HEAD, TRUNK, Stage, depths_of, stages_of
from flaxcnn.training.calendar import StepCalendar
from flaxcnn.training.optimizer import RuntimeOptimizer
from flaxcnn.training.plan import Plan
from flaxcnn.training.planned import planned
from flaxcnn.training.state import TrainState

_WILD = frozenset("*?[")


def fine_tuned(
    optimizer: RuntimeOptimizer, experiment: Experiment, contract: Contract, calendar: StepCalendar
) -> RuntimeOptimizer:
    """Return the optimizer that trains what an experiment says, when it says so.

    Args:
        optimizer: for all parameters at once.
        experiment: the experiment.
        contract: the model's.
        calendar: the run's.

    Raises:
        ConfigError: a part that the model does not have, or nothing that is trained, or too late.
    """
    chosen, training = experiment.optimizer, experiment.training
    if not (experiment.model.freeze or training.head_epochs or chosen.rates or chosen.layer_decay is not None):
        return optimizer
    stages = stages_of(contract)
    frozen = _frozen(stages, experiment.model.freeze)
    groups, begins = _groups(stages, frozen, experiment, calendar)
    every = [name for stage in stages for name in stage.parameters]
    rates = chosen.rates_by_name()
    rated = [_named(stages, part, every, "optimizer.rates") for part in rates]
    depths = tuple(depths_of(stages).items()) if chosen.layer_decay is not None else ()
    plan = Plan(tuple(groups), tuple(begins), depths, tuple(map(tuple, rated)))
    return planned(optimizer, plan, chosen.layer_decay, list(rates.values()))


def trained_parameters(state: TrainState) -> int:
    """Return how many parameters a training changes by its end."""
    plan = state.plan
    sizes = {name: leaf.size for name, leaf in flatten_dict(state.params, sep="/").items()}
    return sum(sizes.values()) if plan is None else sum(sizes[name] for name in plan.trained(plan.phases - 1))


def plan_lines(state: TrainState, contract: Contract) -> list[str]:
    """Return lines that say how many parameters are trained, and what is frozen or begins later; none without a plan.

    Args:
        state: any state of the training.
        contract: the model's.
    """
    plan, stages = state.plan, stages_of(contract)
    if plan is None:
        return []
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    trained = plan.trained(plan.phases - 1)
    frozen = [_part(stage, len(set(stage.parameters) & trained)) for stage in stages]
    line = f"{trained_parameters(state):,} of {count:,} parameters"
    if any(frozen):
        line += f"; frozen: {', '.join(filter(None, frozen))}"
    lines = [line]
    for number, begin in enumerate(plan.begins[1:], 1):
        first = plan.groups[number]
        names = [stage.name for stage in stages if not set(stage.parameters).isdisjoint(first)]
        lines.append(f"from step {begin:,} also {', '.join(names)}")
    return lines


def _part(stage: Stage, trained: int) -> str:
    """Return how a stage is called among what is frozen; "" where nothing of it is."""
    if trained == len(stage.parameters):
        return ""
    return stage.name if not trained else f"a part of {stage.name}"


def _frozen(stages: Sequence[Stage], parts: Iterable[str]) -> frozenset[str]:
    """Return the paths of all parameters that are never trained."""
    every = [name for stage in stages for name in stage.parameters]
    names = [stage.name for stage in stages]
    found: set[str] = set()
    for part in parts:
        if part in names:  # with all that comes before it
            found.update(name for stage in stages[: names.index(part) + 1] for name in stage.parameters)
        else:
            found.update(_named(stages, part, every, "model.freeze"))
    if len(found) == len(every):
        fix = f"leave out the head: --model.freeze {TRUNK}"
        raise ConfigError("nothing is trained", where="model.freeze", found=" ".join(parts), fix=fix)
    return frozenset(found)


def _named(stages: Sequence[Stage], part: str, every: Sequence[str], where: str) -> list[str]:
    """Return the paths of the parameters of a stage, of a layer, of the trunk, or that match a pattern."""
    by_name = {stage.name: stage.parameters for stage in stages}
    if part in by_name:
        return list(by_name[part])
    if part == TRUNK:
        return [name for name in every if name not in by_name[HEAD]]
    if _WILD & set(part):
        found = [name for name in every if fnmatchcase(name, part)]
    else:
        found = [name for name in every if name == part or name.startswith(f"{part}/")]
    if not found:
        expected = f"{TRUNK}, a stage ({', '.join(by_name)}), a layer, or a pattern such as '*/bias'"
        raise ConfigError(
            f"no part '{part}'", where=where, expected=expected, fix=nearest(part, [TRUNK, *by_name, *every])
        )
    return found


def _groups(
    stages: Sequence[Stage], frozen: frozenset[str], experiment: Experiment, calendar: StepCalendar
) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return the groups of parameters, and the step with which each begins."""
    training, steps = experiment.training, calendar.steps_per_epoch
    left = [tuple(name for name in stage.parameters if name not in frozen) for stage in stages]
    if not training.head_epochs:
        return [tuple(name for names in left for name in names)], [0]
    head, trunk = left[-1], [names for names in left[:-1] if names]
    if not head or not trunk:
        found = f"{HEAD} frozen" if not head else f"{TRUNK} frozen"
        expected = "a head and a part of the trunk that are trained"
        fix = "leave out --training.head_epochs, or freeze less"
        raise ConfigError("no two phases", where="training.head_epochs", expected=expected, found=found, fix=fix)
    first = training.head_epochs * steps
    if training.unfreeze_epochs is None:
        groups = [head, tuple(name for names in trunk for name in names)]
        begins = [0, first]
    else:
        groups = [head, *reversed(trunk)]
        begins = [0, *(first + at * training.unfreeze_epochs * steps for at in range(len(trunk)))]
    if begins[-1] >= training.epochs * steps:
        last = training.head_epochs + (len(trunk) - 1) * (training.unfreeze_epochs or 0)
        raise ConfigError(
            "the first stage would never be trained",
            where="training.epochs",
            expected=f"more than {last:,}, the epochs before it begins",
            found=training.epochs,
            fix="train for more epochs, or freeze the first stages with --model.freeze",
        )
    return groups, begins

"""Check a search space: an experiment must accept every value in it."""

from collections.abc import Iterator, Sequence

from flaxcnn.config import Experiment
from flaxcnn.errors import ConfigError
from flaxcnn.sweeps.space import (
    WHERE,
    Choice,
    Domain,
    Float,
    Int,
    Space,
    When,
    domain_of,
    field_value,
    fill,
    require_field,
    with_params,
)
from flaxcnn.sweeps.trials import Params, Value


def check_space(space: Space, experiment: Experiment) -> None:
    """Check that there is something to search, and that an experiment can have every end of it.

    Experiments are made for both ends of each range and for each option, wherever the field is active, while the other
    fields have the first values of their domains.

    Raises:
        ConfigError: the space is empty, never active, or has one setting; a field is unknown; or a value is not of the
            field's type, out of its range, or does not go with the other fields'.
    """
    for path, entry in space.items():
        require_field(experiment, path)
        if not isinstance(entry, Domain | When):
            expected = "a Float, Int, Choice or When"
            raise ConfigError("not a domain", where=f"{WHERE}: {path}", expected=expected, found=repr(entry))
        if isinstance(entry, When):
            _check_condition(space, experiment, path, entry)
    settings = [(path, setting) for path in space for setting in _settings(space, experiment, path)]
    if not settings:
        expected = "a field that is searched in this experiment"
        raise ConfigError("nothing to search", where=WHERE, expected=expected, found=", ".join(space) or "no field")
    for path, setting in settings:
        _check_setting(space, experiment, path, setting)
    if all(len(set(domain_of(entry).extremes)) == 1 for entry in space.values()):
        raise ConfigError(
            "nothing to search: every trial would be the same training",
            where=WHERE,
            expected="a field that has two values or more",
            found=", ".join(f"{path} {domain_of(entry).extremes[0]!r}" for path, entry in space.items()),
            fix="widen a range; or train this setting with flaxcnn train, with several seeds with flaxcnn reproduce",
        )


def _check_setting(space: Space, experiment: Experiment, path: str, setting: Params) -> None:
    """Raise ConfigError where no experiment can have these values, and the others the first of their domains."""
    params = fill(space, experiment, lambda other, domain: setting.get(other, domain.extremes[0]))
    try:
        with_params(experiment, params)
        if path == "model.name":
            _require_model(str(setting[path]))
    except ConfigError as error:
        raise ConfigError(str(error), where=f"{WHERE}, {path} = {setting[path]!r}") from error


def _require_model(name: str) -> None:
    """Raise ConfigError where there is no such model: a config may hold any name."""
    from flaxcnn.models import require_model  # with JAX

    require_model(name)


def _check_condition(space: Space, experiment: Experiment, path: str, when: When) -> None:
    """Raise ConfigError where a condition can never hold, whatever the experiment."""
    where = f"{WHERE}: {path}: When({when.path!r}, ...)"
    require_field(experiment, when.path)
    if when.path not in space:
        for value in when.wanted:
            _require_type(experiment, when.path, value, where)
        return
    order: Sequence[str] = list(space)
    if order.index(when.path) >= order.index(path):
        raise ConfigError("its condition is chosen later", where=where, expected=f"{when.path} to stand before {path}")
    entry = space[when.path]
    domain = domain_of(entry)
    if isinstance(domain, Float):
        raise ConfigError("a number hardly ever has a certain value", where=where, expected="a Choice or an Int")
    if isinstance(domain, Int):
        domain = Choice(*range(domain.low, domain.high + 1, domain.step))
    for value in when.wanted:
        if value not in domain.options:
            expected = f"one of {', '.join(map(repr, domain.options))}"
            raise ConfigError("never has this value", where=where, expected=expected, found=repr(value))


def _require_type(experiment: Experiment, path: str, value: Value, where: str) -> None:
    section, _, name = path.partition(".")
    try:
        type(getattr(experiment, section))(**{name: value})
    except ConfigError as error:
        if error.what == "wrong type":  # what else is wrong may be right with other values in the section
            raise ConfigError(str(error), where=where) from error


def _settings(
    space: Space, experiment: Experiment, path: str, values: Sequence[Value] | None = None
) -> Iterator[dict[str, Value]]:
    """Give each way in which a field can be active: a value of its own, and of those on which it depends.

    Args:
        space: the space.
        experiment: the experiment.
        path: of the field.
        values: of the field; None for the extremes of its domain.
    """
    entry = space[path]
    outer: Iterator[dict[str, Value]] = iter([{}])
    if isinstance(entry, When):
        if entry.path in space:
            outer = _settings(space, experiment, entry.path, entry.wanted)
        elif field_value(experiment, entry.path) not in entry.wanted:
            return
    domain = domain_of(entry)
    for setting in outer:
        for value in domain.extremes if values is None else values:
            yield {**setting, path: value}

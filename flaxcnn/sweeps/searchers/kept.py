"""A sampler's state between trials, stored as numbers in the study: reading it never runs code.

Optuna's CMA-ES stores its distribution as a pickle, which can run any code when loaded. This module stores its numbers
instead, and checks them against a new distribution before it restores one from them.
"""

import functools
import pickle
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxcnn.errors import ConfigError
from flaxcnn.files import checked, parse_json
from flaxcnn.sweeps.space import Space, domain_of
from flaxcnn.sweeps.trials import Value

if TYPE_CHECKING:
    from cmaes import CMA
    from optuna.samplers import CmaEsSampler

_PICKLE = "cma:optimizer"  # Optuna's attributes of one pickle in hexadecimal parts, and ours in their place
_STATE = "cma:state"
# Of cmaes.CMA, what its `tell` changes; everything else follows from the number of dimensions.
_CHANGED = ("_c_1d", "_funhist_values", "_g", "_mean", "_p_sigma", "_pc", "_sigma")
_MOST = 1e32  # as cmaes has it of a mean
_GENERATION = "cma:generation"
_RELATIVE = re.compile(r"(?:tpe|gp):relative_params:(\d{1,4})")  # Optuna's, of one JSON text in parts
_WHERE = "a trial's searcher"


def kept_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sampler's attributes of a trial as they are kept, of JSON values.

    Args:
        attributes: as the sampler wrote them in this process.
    """
    kept = {name: value for name, value in attributes.items() if not name.startswith(_PICKLE)}
    parts = [attributes[f"{_PICKLE}:{number}"] for number in range(len(attributes) - len(kept))]
    if parts:
        state = pickle.loads(bytes.fromhex("".join(parts))).__getstate__()
        kept[_STATE] = {name: np.asarray(state[name]).tolist() for name in _CHANGED}
    return kept


def require_kept(attributes: Mapping[str, Any], space: Space) -> None:
    """Raise ConfigError where attributes that a study holds are not those of a sampler on this space."""
    relative: dict[int, str] = {}
    for name, value in attributes.items():
        match = _RELATIVE.fullmatch(name)
        if match:
            relative[int(match[1])] = checked(value, str, where=_WHERE, error=ConfigError)
        elif name == _GENERATION:
            checked(value, int, where=_WHERE, error=ConfigError)
        elif name == _STATE:
            state = checked(value, dict[str, Any], where=_WHERE, error=ConfigError)
            mean = checked(state.get("_mean"), list[float], where=f"{_WHERE}: _mean", error=ConfigError)
            if not 0 < len(mean) <= len(space):
                expected = f"1 to {len(space)} dimensions"
                raise ConfigError("damaged", where=_WHERE, expected=expected, found=len(mean))
        else:
            raise ConfigError("damaged", where=_WHERE, expected="what a sampler keeps", found=name)
    if relative:
        text = "".join(relative.get(number, "") for number in range(len(relative)))
        for path, value in parse_json(text, dict[str, Value], where=_WHERE, error=ConfigError).items():
            if path not in space or not domain_of(space[path]).holds(value):
                raise ConfigError("damaged", where=_WHERE, expected="values of the space", found=f"{path} {value!r}")


@functools.cache
def cma_sampler() -> "type[CmaEsSampler]":
    """Return Optuna's sampler, but for that it goes on with the numbers that `kept_of` keeps."""
    from cmaes import CMA
    from optuna.samplers import CmaEsSampler

    class Sampler(CmaEsSampler):
        _kept: Mapping[str, Any] | None = None

        def _restore_optimizer(self, completed_trials: Any) -> None:
            states = (trial.system_attrs.get(_STATE) for trial in reversed(completed_trials))
            self._kept = next((state for state in states if state is not None), None)

        def _init_optimizer(self, trans: Any, direction: Any) -> Any:
            if self._kept is None:
                return super()._init_optimizer(trans, direction)
            drawn = self._cma_rng.rng.get_state()
            optimizer = super()._init_optimizer(trans, direction)
            self._cma_rng.rng.set_state(drawn)  # one that goes on draws nothing to begin with
            dimensions = len(self._kept["_mean"])
            if dimensions != optimizer.dim:  # of a space that changed since: Optuna then proposes without it
                return CMA(mean=np.zeros(dimensions), sigma=1.0)
            optimizer.__setstate__({**optimizer.__getstate__(), **_numbers(self._kept, optimizer)})
            return optimizer

    return Sampler


def _numbers(state: Mapping[str, Any], fresh: "CMA") -> dict[str, Any]:
    """Return the numbers that a generation changed, of the types and shapes of a fresh distribution's."""
    numbers: dict[str, Any] = {}
    for name, like in fresh.__getstate__().items():
        if name not in _CHANGED:
            continue
        where, value = f"{_WHERE}: {name}", state.get(name)
        if not isinstance(like, np.ndarray):
            numbers[name] = checked(value, int if isinstance(like, int) else float, where=where, error=ConfigError)
            continue
        array = np.asarray(checked(value, list[float], where=where, error=ConfigError), like.dtype)
        if array.shape != like.shape:
            raise ConfigError("damaged", where=where, expected=f"shape {like.shape}", found=array.shape)
        numbers[name] = array
    for name, value in numbers.items():
        # Of the history of values, what was not written to yet may be anything.
        if name != "_funhist_values" and not np.all(np.abs(value) < _MOST):
            raise ConfigError("damaged", where=f"{_WHERE}: {name}", expected=f"numbers below {_MOST:g}")
    if numbers["_sigma"] <= 0 or numbers["_g"] < 0:
        raise ConfigError("damaged", where=_WHERE, expected="a deviation above 0 and a generation of at least 0")
    return numbers

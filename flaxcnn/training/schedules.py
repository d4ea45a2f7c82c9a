"""How the learning rate goes: a factor of its peak, for each step, as optax's schedules give it.

A schedule knows steps only; what an epoch is, is the caller's business, and the peak is the optimizer's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

from flaxcnn.errors import ConfigError, nearest

Kind = Literal["constant", "cosine", "one_cycle", "step", "linear"]


@dataclass(frozen=True)
class Schedule:
    """A factor in [0, 1] of the peak learning rate, for each update.

    Updates are counted from 0. In the warm-up, while step < warmup_steps, the factor is (step + 1) / warmup_steps: the
    first update is made at 1 / warmup_steps and not at 0, which would be for nothing, and the warm-up's last one at the
    peak. What follows, by kind, with t = (step - warmup_steps) / (total_steps - warmup_steps):

    - constant: 1.
    - cosine: final + (1 - final) (1 + cos(pi t)) / 2 (I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, equation 5).
    - linear: 1 + (final - 1) t.
    - step: decay_rate to the power of step // decay_steps; drops are counted from step 0, the warm-up included
      (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).
    - one_cycle: half a cosine from 1/25 up to 1 over the first 30 % of the steps, another down to 4e-6 (L. Smith and
      N. Topin, "Super-Convergence", 2018, with the numbers of `optax.cosine_onecycle_schedule`).

    Steps past `total_steps` have the factor of step `total_steps`; a run's last update is one earlier, at
    total_steps - 1. Equal by value, so that a jitted step which holds one is compiled once for all that are equal.

    >>> halves = Schedule("cosine", total_steps=4)
    >>> [round(float(halves(step)), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]

    Attributes:
        kind: the shape after the warm-up.
        total_steps: updates of the whole run, the warm-up included; all kinds but constant need it.
        warmup_steps: updates of the warm-up, 0 for none; one_cycle has a rise of its own.
        decay_steps: step: updates from one drop to the next.
        decay_rate: step: factor of each drop.
        final: cosine, linear: the factor at `total_steps`.

    Raises:
        ConfigError: an unknown kind, or a number out of its range.
    """

    kind: Kind = "constant"
    total_steps: int = 0
    warmup_steps: int = 0
    decay_steps: int = 0
    decay_rate: float = 0.1
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            known = get_args(Kind)
            raise ConfigError(
                "no such schedule", where="schedule.kind", found=repr(self.kind), fix=nearest(self.kind, known)
            )
        _require(self.warmup_steps >= 0, "warmup_steps", "at least 0", self.warmup_steps)
        if self.kind != "constant":
            _require(self.total_steps >= 1, "total_steps", "at least 1", self.total_steps)
        if self.kind in ("cosine", "linear"):
            expected = f"fewer than the {self.total_steps} steps in all"
            _require(self.warmup_steps < self.total_steps, "warmup_steps", expected, self.warmup_steps)
            _require(0 <= self.final <= 1, "final", "0 to 1", self.final)
        if self.kind == "one_cycle":
            _require(self.warmup_steps == 0, "warmup_steps", "0, since one_cycle rises by itself", self.warmup_steps)
        if self.kind == "step":
            _require(self.decay_steps >= 1, "decay_steps", "at least 1", self.decay_steps)
            _require(0 < self.decay_rate <= 1, "decay_rate", "0 < rate <= 1", self.decay_rate)
            expected = f"at most decay_steps, {self.decay_steps}, or it would drop while it rises"
            _require(self.warmup_steps <= self.decay_steps, "warmup_steps", expected, self.warmup_steps)

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """Return the factor of an update, a float32 scalar.

        Args:
            step: updates made before it, an integer scalar; may be traced.
        """
        schedule = _AFTER_WARMUP[self.kind](self)
        if warmup := self.warmup_steps:
            rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1)
            schedule = optax.join_schedules([rise, schedule], [warmup])
        return jnp.asarray(schedule(step), jnp.float32)


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise ConfigError("out of range", where=f"schedule.{name}", expected=expected, found=found)


def _constant(schedule: Schedule) -> optax.Schedule:
    return optax.constant_schedule(1.0)


def _cosine(schedule: Schedule) -> optax.Schedule:
    return optax.cosine_decay_schedule(1.0, schedule.total_steps - schedule.warmup_steps, schedule.final)


def _linear(schedule: Schedule) -> optax.Schedule:
    return optax.linear_schedule(1.0, schedule.final, schedule.total_steps - schedule.warmup_steps)


def _step(schedule: Schedule) -> optax.Schedule:
    # Whole drops are counted here, in integers: optax divides in floating point, which XLA turns into a multiplication
    # by a rounded inverse, so that for some lengths (41, 47, ...) every drop would come one step late.
    by_drops = optax.exponential_decay(1.0, 1, schedule.decay_rate, staircase=True)

    def factor(steps_after_warmup: jax.Array | int) -> jax.Array:
        step = jnp.minimum(steps_after_warmup + schedule.warmup_steps, schedule.total_steps)
        return by_drops(step // schedule.decay_steps)

    return factor


def _one_cycle(schedule: Schedule) -> optax.Schedule:
    cycle = optax.cosine_onecycle_schedule(schedule.total_steps, 1.0)

    def factor(step: jax.Array | int) -> jax.Array:
        with jax.default_matmul_precision("float32"):  # optax picks the piece by a dot product, which may mean TF32
            return cycle(step)

    return factor


_AFTER_WARMUP: dict[Kind, Callable[[Schedule], optax.Schedule]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "one_cycle": _one_cycle,
}

CONSTANT = Schedule()

"""Learning-rate schedules: for each step, a factor of the peak learning rate, built from optax's schedules.

A schedule counts steps only. The caller converts epochs, and the optimizer holds the peak.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

from flaxcnn.errors import ConfigError, nearest

Kind = Literal["constant", "cosine", "one_cycle", "step", "linear"]

MOST_STEPS = 2**31 - 1  # that the int32 counters of a state hold
SHORTEST_CYCLE = 4  # steps: fewer hold no rise

# `torch.optim.lr_scheduler.OneCycleLR`'s defaults: pct_start, 1 / div_factor, 1 / (div_factor * final_div_factor).
_RISING_SHARE, _CYCLE_START, _CYCLE_END = 0.3, 1 / 25, 1 / 250_000


@dataclass(frozen=True)
class Schedule:
    """A factor in [0, 1] of the peak learning rate, for each update.

    Updates are counted from 0. In the warm-up, while step < warmup_steps, the factor is (step + 1) / warmup_steps: it
    starts at 1 / warmup_steps, because an update at 0 would do nothing, and reaches 1 in the warm-up's last step. The
    factor after the warm-up, by kind, with t = (step - warmup_steps) / (total_steps - warmup_steps):

    - constant: 1.
    - cosine: final + (1 - final) (1 + cos(pi t)) / 2 (I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, equation 5).
    - linear: 1 + (final - 1) t.
    - step: decay_rate ** (step // decay_steps), with drops counted from step 0, including the warm-up
      (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).
    - one_cycle: half a cosine from 1/25 at step 0 up to 1 at step p = 0.3 total_steps - 1, then half a cosine down to
      4e-6 at the last step, total_steps - 1; p may lie between two steps (L. Smith and N. Topin, "Super-Convergence",
      2018, in the form and with the defaults of `torch.optim.lr_scheduler.OneCycleLR`).

    A run's last update is at step total_steps - 1, so cosine and linear would reach `final` one update later, as in
    PyTorch. Steps past `total_steps` have the factor of step `total_steps`. Schedules compare by value, so a jitted
    step compiles once for all equal schedules.

    >>> halves = Schedule("cosine", total_steps=4)
    >>> [round(float(halves(step)), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]

    Attributes:
        kind: the shape after the warm-up.
        total_steps: updates of the whole run, including the warm-up, at most 2**31 - 1. All kinds except constant need
            it; one_cycle needs at least 4.
        warmup_steps: updates of the warm-up, 0 for none; not for one_cycle, which has its own.
        decay_steps: step: updates between drops; fewer than `total_steps`, or there is no drop.
        decay_rate: step: factor of each drop.
        final: cosine, linear: the factor at `total_steps`.
        held_steps: updates at the peak before the schedule begins, while the head alone is trained; all other counts
            begin after them.

    Raises:
        ConfigError: an unknown kind, or a number out of range.
    """

    kind: Kind = "constant"
    total_steps: int = 0
    warmup_steps: int = 0
    decay_steps: int = 0
    decay_rate: float = 0.1
    final: float = 0.0
    held_steps: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            known = get_args(Kind)
            raise ConfigError(
                "no such schedule", where="schedule.kind", found=repr(self.kind), fix=nearest(self.kind, known)
            )
        _require(0 <= self.warmup_steps <= MOST_STEPS, "warmup_steps", f"0 to {MOST_STEPS:,}", self.warmup_steps)
        _require(0 <= self.held_steps <= MOST_STEPS, "held_steps", f"0 to {MOST_STEPS:,}", self.held_steps)
        if self.kind != "constant":
            fewest = SHORTEST_CYCLE if self.kind == "one_cycle" else 1
            expected = f"{fewest} to {MOST_STEPS:,}"
            _require(fewest <= self.total_steps <= MOST_STEPS, "total_steps", expected, self.total_steps)
        if self.kind in ("cosine", "linear"):
            expected = f"fewer than the {self.total_steps} steps in all"
            _require(self.warmup_steps < self.total_steps, "warmup_steps", expected, self.warmup_steps)
            _require(0 <= self.final <= 1, "final", "0 to 1", self.final)
        if self.kind == "one_cycle":
            _require(self.warmup_steps == 0, "warmup_steps", "0, since one_cycle rises by itself", self.warmup_steps)
        if self.kind == "step":
            expected = f"at least 1 and fewer than the {self.total_steps} steps in all, or there is no drop"
            _require(1 <= self.decay_steps < self.total_steps, "decay_steps", expected, self.decay_steps)
            _require(0 < self.decay_rate <= 1, "decay_rate", "0 < rate <= 1", self.decay_rate)
            expected = f"at most decay_steps, {self.decay_steps}, or it would drop while it rises"
            _require(self.warmup_steps <= self.decay_steps, "warmup_steps", expected, self.warmup_steps)

    @property
    def peak_step(self) -> int:
        """The first step at or past the peak, after those at which it is held."""
        if self.kind == "one_cycle":
            return self.held_steps + math.ceil(_RISING_SHARE * self.total_steps) - 1
        return self.held_steps + max(self.warmup_steps - 1, 0)

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """Return the factor of an update, a float32 scalar.

        Args:
            step: the number of earlier updates, an integer scalar; may be traced.
        """
        schedule = _AFTER_WARMUP[self.kind](self)
        if warmup := self.warmup_steps:
            rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1)
            schedule = optax.join_schedules([rise, schedule], [warmup])
        if self.held_steps:
            schedule = optax.join_schedules([optax.constant_schedule(1.0), schedule], [self.held_steps])
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
    # Not `optax.cosine_onecycle_schedule`: its peak is one step later, and it would end one update after the last.
    last = schedule.total_steps - 1
    peak = _RISING_SHARE * schedule.total_steps - 1

    def factor(step: jax.Array | int) -> jax.Array:
        step = jnp.minimum(step, last)
        rising = step <= peak
        start, end = jnp.where(rising, _CYCLE_START, 1.0), jnp.where(rising, 1.0, _CYCLE_END)
        left = jnp.where(rising, (peak - step) / peak, (last - step) / (last - peak))
        return end + (start - end) * jnp.sin(jnp.pi / 2 * left) ** 2  # (1 - cos(pi left)) / 2, exact near its end

    return factor


_AFTER_WARMUP: dict[Kind, Callable[[Schedule], optax.Schedule]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "one_cycle": _one_cycle,
}

CONSTANT = Schedule()

"""A schedule is the closed form of its paper at every step, and its drops come when they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from flaxcnn.errors import ConfigError
from flaxcnn.training.schedules import Schedule
from tests.error_fields import fields


def factors(schedule, steps):
    """The factors of steps 0 to `steps` - 1, each computed as a scalar in one compiled loop, as in training."""
    return np.asarray(jax.jit(lambda: lax.map(schedule, jnp.arange(steps, dtype=jnp.int32)))())


def with_warmup(warmup, steps, after):
    """(step + 1) / warmup while it lasts, and then what `after` says of the step since then."""
    return [(step + 1) / warmup if step < warmup else after(step - warmup) for step in range(steps)]


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (2, 1), (60, 0), (60, 7), (201, 200)])
@pytest.mark.parametrize("final", [0.0, 0.03, 1.0])
def test_cosine_is_half_a_cosine_after_the_warm_up(total, warmup, final):
    def after(step):
        return final + (1 - final) * (1 + np.cos(np.pi * min(step / (total - warmup), 1))) / 2

    schedule = Schedule("cosine", total, warmup, final=final)
    np.testing.assert_allclose(factors(schedule, total + 9), with_warmup(warmup, total + 9, after), atol=3e-7)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (2, 1), (60, 0), (60, 7)])
@pytest.mark.parametrize("final", [0.0, 0.25])
def test_linear_is_a_straight_line_after_the_warm_up(total, warmup, final):
    def after(step):
        return 1 + (final - 1) * min(step / (total - warmup), 1)

    schedule = Schedule("linear", total, warmup, final=final)
    np.testing.assert_allclose(factors(schedule, total + 9), with_warmup(warmup, total + 9, after), atol=3e-7)


def anneal(start, end, share):
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2


@pytest.mark.parametrize("total", [4, 5, 10, 12, 97, 1200, 100_000])
def test_one_cycle_rises_from_a_25th_over_30_percent_and_falls_to_a_250_000th_at_the_last_step(total):
    """The formulas of PyTorch's documentation of OneCycleLR, by hand: phases end at 0.3 total - 1 and at total - 1."""
    peak, last = 0.3 * total - 1, total - 1

    def expected(step):
        if step <= peak:
            return anneal(1 / 25, 1, step / peak)
        return anneal(1, 1 / 250_000, (min(step, last) - peak) / (last - peak))

    found = factors(Schedule("one_cycle", total), total + 5)
    np.testing.assert_allclose(found, [expected(step) for step in range(total + 5)], rtol=2e-4, atol=3e-7)
    np.testing.assert_allclose(found[last:], 4e-6, rtol=1e-6)
    around_the_peak = found[int(peak) : int(peak) + 2]
    assert around_the_peak.max() == pytest.approx(found.max(), abs=1e-7)


# Printed by torch 2.13.0's `torch.optim.lr_scheduler` classes, at a learning rate of 1: step -> learning rate.
TORCH = {
    "OneCycleLR(max_lr=1, total_steps=4)": (
        Schedule("one_cycle", 4),
        {0: 0.04, 1: 0.811745653949763, 2: 0.28306099820869923, 3: 4e-06},
    ),
    "OneCycleLR(max_lr=1, total_steps=10)": (
        Schedule("one_cycle", 10),
        dict(
            enumerate(
                (
                    *(0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893),
                    *(0.38874197806371075, 0.18825834605023697, 0.049519367986526286, 4e-06),
                )
            )
        ),
    ),
    "OneCycleLR(max_lr=1, total_steps=1200)": (
        Schedule("one_cycle", 1200),
        {
            0: 0.04,
            1: 0.04001837889169224,
            2: 0.040073514159336576,
            120: 0.2812135871558491,
            358: 0.9999816211083079,
            359: 1.0,
            360: 0.999996503134418,
            361: 0.9999860125865848,
            600: 0.8102814614927769,
            1198: 7.496865581946262e-06,
            1199: 4e-06,
        },
    ),
    "SequentialLR of LinearLR(1/4, 1, 3) and CosineAnnealingLR(8, eta_min=0.03) from 4": (
        Schedule("cosine", 12, 4, final=0.03),
        {
            0: 0.25,
            1: 0.5,
            2: 0.75,
            3: 1.0,
            4: 1.0,
            5: 0.9630815732679741,
            6: 0.8579467888754755,
            7: 0.7006014646970686,
            8: 0.515,
            9: 0.3293985353029315,
            10: 0.17205321112452449,
            11: 0.06691842673202594,
        },
    ),
    "SequentialLR of LinearLR(1/4, 1, 3) and LinearLR(1, 0.25, 8) from 4": (
        Schedule("linear", 12, 4, final=0.25),
        dict(enumerate((0.25, 0.5, 0.75, 1, 1, 0.90625, 0.8125, 0.71875, 0.625, 0.53125, 0.4375, 0.34375, 0.25))),
    ),
    "StepLR(3, 0.5)": (
        Schedule("step", 10, decay_steps=3, decay_rate=0.5),
        dict(enumerate((1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125))),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_a_schedule_is_pytorchs(name):
    schedule, printed = TORCH[name]
    found = factors(schedule, max(printed) + 1)
    np.testing.assert_allclose(found[list(printed)], list(printed.values()), rtol=2e-5, atol=1e-9)


def test_constant_is_one_after_the_warm_up():
    np.testing.assert_array_equal(factors(Schedule(), 4), [1, 1, 1, 1])
    np.testing.assert_allclose(factors(Schedule("constant", warmup_steps=4), 7), [0.25, 0.5, 0.75, 1, 1, 1, 1])


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "step"])
def test_a_warm_up_of_one_step_is_none(kind):
    schedule = Schedule(kind, 10, 1, decay_steps=4)
    assert factors(schedule, 2).tolist() == [1, 1]


@pytest.mark.parametrize("decay", [1, 3, 41, 47, 55, 1171, 35_190])
def test_step_drops_with_the_first_step_of_each_interval_and_not_one_later(decay):
    """Divided in floating point under jit, 41 / 41 came out below 1, and with it the drop at step 42."""
    factor = jax.jit(Schedule("step", 100 * decay, decay_steps=decay, decay_rate=0.5))
    for drops in (1, 2, 3, 7, 9):
        assert float(factor(drops * decay - 1)) == 0.5 ** (drops - 1)
        assert float(factor(drops * decay)) == 0.5**drops


def test_the_drops_of_step_are_counted_with_the_warm_up():
    """As Goyal et al. (2017) have it: five epochs of warm-up, drops at epochs 30, 60 and 90."""
    found = factors(Schedule("step", 100, 5, decay_steps=30), 100)
    expected = [0.2, 0.4, 0.6, 0.8, 1.0] + [1.0] * 25 + [0.1] * 30 + [0.01] * 30 + [0.001] * 10
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_step_drops_no_more_after_the_end():
    found = factors(Schedule("step", 7, decay_steps=3, decay_rate=0.5), 20)
    assert found.tolist() == [1, 1, 1, 0.5, 0.5, 0.5] + [0.25] * 14


@st.composite
def schedules(draw):
    kind = draw(st.sampled_from(["constant", "cosine", "one_cycle", "step", "linear"]))
    total = draw(st.integers(4, 2_000_000))
    decay = draw(st.integers(1, total - 1))
    most = {"constant": 2_000_000, "one_cycle": 0, "step": decay}.get(kind, total - 1)
    rate = draw(st.floats(0, 1, exclude_min=True))
    return Schedule(kind, total, draw(st.integers(0, most)), decay, rate, draw(st.floats(0, 1)))


@given(schedules(), st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_factor_lies_in_0_to_1_and_none_rises_after_the_warm_up(schedule, anywhere):
    ends = [schedule.warmup_steps, schedule.total_steps - 1, schedule.total_steps, schedule.total_steps + 1]
    steps = sorted({0, *ends, *anywhere})
    found = [float(schedule(jnp.int32(step))) for step in steps]
    assert all(0 <= factor <= 1 for factor in found)
    peak = int(0.3 * schedule.total_steps) if schedule.kind == "one_cycle" else schedule.warmup_steps
    falling = np.array([factor for step, factor in zip(steps, found, strict=True) if step >= peak])
    assert (np.diff(falling) <= 1e-7).all()


@pytest.mark.parametrize("kind", ["constant", "cosine", "one_cycle", "step", "linear"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_a_factor_is_a_float32_scalar_that_keeps_its_type(kind, warmup):
    schedule = Schedule(kind, 10, 0 if kind == "one_cycle" else warmup, decay_steps=4)
    for factor in (schedule(2), schedule(jnp.int32(2)), jax.eval_shape(schedule, jnp.int32(2))):
        assert (factor.dtype, factor.shape, factor.weak_type) == (jnp.float32, (), False)


def test_schedules_of_the_same_numbers_are_one_key_and_one_compilation():
    factor = jax.jit(lambda schedule, step: schedule(step), static_argnums=0)
    for _ in range(3):
        factor(Schedule("cosine", total_steps=10, final=0.1), jnp.int32(3))
    assert factor._cache_size() == 1
    factor(Schedule("cosine", total_steps=11, final=0.1), jnp.int32(3))
    assert factor._cache_size() == 2


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"kind": "cosin"}, ("schedule.kind", None, "'cosin'")),
        ({"kind": "linear"}, ("schedule.total_steps", "1 to 2,147,483,647", "0")),
        (
            {"kind": "step", "total_steps": 2**31, "decay_steps": 9},
            ("schedule.total_steps", "1 to 2,147,483,647", "2147483648"),
        ),
        (
            {"kind": "one_cycle", "total_steps": 3},
            ("schedule.total_steps", "4 to 2,147,483,647", "3"),
        ),
        ({"warmup_steps": -1}, ("schedule.warmup_steps", "0 to 2,147,483,647", "-1")),
        (
            {"kind": "cosine", "total_steps": 5, "warmup_steps": 5},
            ("schedule.warmup_steps", "fewer than the 5 steps in all", "5"),
        ),
        (
            {"kind": "linear", "total_steps": 5, "final": 1.5},
            ("schedule.final", "0 to 1", "1.5"),
        ),
        (
            {"kind": "one_cycle", "total_steps": 5, "warmup_steps": 1},
            ("schedule.warmup_steps", "0, since one_cycle rises by itself", "1"),
        ),
        (
            {"kind": "step", "total_steps": 5},
            ("schedule.decay_steps", "at least 1 and fewer than the 5 steps in all, or there is no drop", "0"),
        ),
        (
            {"kind": "step", "total_steps": 5, "decay_steps": 5},
            ("schedule.decay_steps", "at least 1 and fewer than the 5 steps in all, or there is no drop", "5"),
        ),
        (
            {"kind": "step", "total_steps": 5, "decay_steps": 2, "decay_rate": 0.0},
            ("schedule.decay_rate", "0 < rate <= 1", "0.0"),
        ),
        (
            {"kind": "step", "total_steps": 9, "decay_steps": 2, "warmup_steps": 3},
            ("schedule.warmup_steps", "at most decay_steps, 2, or it would drop while it rises", "3"),
        ),
    ],
)
def test_what_makes_no_schedule_is_said_in_one_line(values, told):
    with pytest.raises(ConfigError) as raised:
        Schedule(**values)
    assert fields(raised.value) == told

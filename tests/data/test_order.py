"""The order of an epoch is a permutation that anyone can recompute from (seed, epoch)."""

import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from flaxcnn.data import epoch_order
from flaxcnn.errors import ConfigError
from tests.error_fields import fields

positions = st.integers(0, 2**63 - 1)


def philox_words(key, counter, count):
    """Philox4x64-10 as the Random123 paper (Salmon et al., SC 2011) defines it, in Python's integers."""
    mask = 2**64 - 1
    words = []
    while len(words) < count:
        counter = [
            (sum(word << 64 * place for place, word in enumerate(counter)) + 1) >> 64 * i & mask for i in range(4)
        ]
        (c0, c1, c2, c3), (k0, k1) = counter, key
        for _ in range(10):
            high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
            high1, low1 = divmod(0xCA5A826395121157 * c2, 2**64)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
            k0, k1 = k0 + 0x9E3779B97F4A7C15 & mask, k1 + 0xBB67AE8584CAA73B & mask
        words += [c0, c1, c2, c3]
    return words[:count]


def test_the_reference_generator_gives_the_published_words():
    # Random123's kat_vectors, philox4x64 10: zero counter and key. The generator counts before its first block.
    assert philox_words((0, 0), [2**64 - 1] * 4, 4) == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]


@settings(max_examples=60, deadline=None)
@given(positions, positions, st.integers(0, 40))
def test_the_order_is_the_sort_of_philox_words(seed, epoch, examples):
    words = philox_words((seed, int.from_bytes(b"order", "big")), [0, 0, 0, epoch], examples)
    expected = sorted(range(examples), key=lambda position: words[position])
    found = epoch_order(seed, epoch, examples)
    assert (found.tolist(), found.dtype) == (expected, np.int32)


@settings(max_examples=60, deadline=None)
@given(positions, positions, st.integers(0, 3000))
def test_every_example_comes_exactly_once(seed, epoch, examples):
    assert sorted(epoch_order(seed, epoch, examples).tolist()) == list(range(examples))


@settings(max_examples=60, deadline=None)
@given(st.tuples(positions, positions), st.tuples(positions, positions))
def test_another_epoch_or_seed_has_another_order(one, other):
    # Two orders of 100 coincide by chance once in 10**157.
    same = np.array_equal(epoch_order(*one, 100), epoch_order(*other, 100))
    assert same == (one == other)


def test_seed_and_epoch_do_not_stand_in_for_each_other():
    orders = {tuple(epoch_order(seed, epoch, 50)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


@pytest.mark.parametrize("varied", ["seed", "epoch"])
def test_all_orders_are_equally_likely(varied):
    counts = dict.fromkeys(permutations(range(4)), 0)
    for number in range(6000):
        place = (number, 3) if varied == "seed" else (3, number)
        counts[tuple(epoch_order(*place, 4).tolist())] += 1
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_consecutive_epochs_are_independent():
    # Where the first example of one epoch stands in the next: uniform.
    positions = [epoch_order(0, epoch + 1, 8).tolist().index(epoch_order(0, epoch, 8)[0]) for epoch in range(4000)]
    assert chisquare(np.bincount(positions, minlength=8)).pvalue > 1e-4


def test_another_process_finds_the_same_order(command_environment):
    words = [sys.executable, "-c", "from flaxcnn.data import epoch_order; print(epoch_order(7, 2, 500).tolist())"]
    found = subprocess.run(words, env=command_environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(epoch_order(7, 2, 500).tolist())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((-1, 0, 5), ("seed", "0 to 9223372036854775807", "-1")),
        ((2**63, 0, 5), ("seed", "0 to 9223372036854775807", "9223372036854775808")),
        ((0, -1, 5), ("epoch", "0 to 9223372036854775807", "-1")),
        ((0, 0, -1), ("examples", "0 to 2147483648", "-1")),
        ((0, 0, 2**31 + 1), ("examples", "0 to 2147483648", "2147483649")),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, told):
    with pytest.raises(ConfigError) as refused:
        epoch_order(*arguments)
    assert fields(refused.value) == told

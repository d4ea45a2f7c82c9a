"""A contract is derived from any module without arithmetic, and says each call of a layer where it happens."""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from flaxcnn.contracts import derive_contract
from flaxcnn.errors import ContractError


def lines(module, input_shape, **options):
    """The contract's lines after the two of its head, each with single spaces."""
    return [" ".join(line.split()) for line in str(derive_contract(module, input_shape, **options)).splitlines()[2:]]


class Block(nn.Module):
    filters: int

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(self.filters, (3, 3), use_bias=False, name="conv")(x)
        y = nn.BatchNorm(use_running_average=not train, name="norm")(y)
        return nn.Dropout(0.5, deterministic=not train, name="drop")(nn.relu(y))


class Net(nn.Module):
    classes: int = 10

    @nn.compact
    def __call__(self, images, train=True):
        endpoints = {}
        x = endpoints["stage1"] = Block(4, name="stage1")(images, train)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = endpoints["pooled"] = x.mean(axis=(1, 2))
        logits = endpoints["logits"] = nn.Dense(self.classes, name="head")(x)
        return logits, endpoints


def test_nested_layers_collections_and_endpoints_stand_where_they_happen():
    assert str(derive_contract(Net(), (8, 8, 3))).splitlines()[0].split(maxsplit=1)[1] == (
        "Net  166 parameters with K = 10"  # 3·3·3·4 + 4 + 4 of the block, 4·10 + 10 of the head
    )
    assert lines(Net(), (8, 8, 3)) == [
        "stage1 (B, 8, 8, 3) -> (B, 8, 8, 4)",
        "stage1/conv (B, 8, 8, 3) -> (B, 8, 8, 4) kernel (3, 3, 3, 4)",
        "stage1/norm (B, 8, 8, 4) -> (B, 8, 8, 4) scale (4) bias (4) batch_stats:mean (4) batch_stats:var (4)",
        "stage1/drop (B, 8, 8, 4) -> (B, 8, 8, 4)",
        "pooled -> (B, 4)",
        "head (B, 4) -> (B, K) kernel (4, K) bias (K)",
        "logits -> (B, K)",
    ]


def test_a_module_without_endpoints_classes_or_train_has_its_output_as_a_line():
    net = nn.Sequential([nn.Dense(7), nn.relu, nn.Dense(2)])
    assert lines(net, (5,)) == [
        "layers_0 (B, 5) -> (B, 7) kernel (5, 7) bias (7)",
        "layers_2 (B, 7) -> (B, 2) kernel (7, 2) bias (2)",
        "output -> (B, 2)",
    ]


def test_a_single_layer_is_the_line_of_the_module_itself():
    assert lines(nn.Dense(2), (5,)) == [". (B, 5) -> (B, 2) kernel (5, 2) bias (2)", "output -> (B, 2)"]


def test_a_layer_called_twice_has_two_lines_and_its_variables_once():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(5, name="dense")
            return dense(nn.relu(dense(x)))

    assert lines(Twice(), (5,)) == [
        "dense (B, 5) -> (B, 5) kernel (5, 5) bias (5)",
        "dense#2 (B, 5) -> (B, 5)",
        "output -> (B, 5)",
    ]
    assert derive_contract(Twice(), (5,)).parameters() == 30


def test_other_methods_several_arrays_and_own_parameters_are_said():
    class Position(nn.Module):
        @nn.compact
        def __call__(self):
            return self.param("table", nn.initializers.zeros, (6, 4))

    class Attention(nn.Module):
        def setup(self):
            self.embed = nn.Embed(9, 4)
            self.position = Position()
            self.cls = self.param("cls", nn.initializers.zeros, (1, 1, 4))
            self.attention = nn.MultiHeadDotProductAttention(2)

        def __call__(self, x):
            return self.mixed(x), self.embed.attend(x)

        def mixed(self, x):
            return self.attention(x + self.position(), self.cls + x)

    found = lines(Attention(), (6, 4))
    assert found[0] == ". (B, 6, 4) -> (B, 6, 4), (B, 6, 9) cls (1, 1, 4)"
    assert found[1] == "position none -> (6, 4) table (6, 4)"
    assert found[2] == "attention (B, 6, 4), (B, 6, 4) -> (B, 6, 4)"
    assert found[-2:] == ["embed:attend (B, 6, 4) -> (B, 6, 9) embedding (9, 4)", "output -> (B, 6, 4), (B, 6, 9)"]


def test_axes_that_are_multiples_of_batch_and_classes_are_found():
    class Boxes(nn.Module):
        classes: int

        @nn.compact
        def __call__(self, x):
            cells = nn.Dense(3 * (self.classes + 5), name="boxes")(x.reshape(-1, 2))
            return {"cells": cells, "flat": cells.reshape(-1), "counts": {"images": jnp.ones(x.shape[0] + 1)}}

    assert lines(Boxes(20), (7, 7, 2)) == [
        "boxes (49*B, 2) -> (49*B, 3*K+15) kernel (2, 3*K+15) bias (3*K+15)",
        "cells -> (49*B, 3*K+15)",
        "flat -> (147*B*K+735*B)",
        "counts/images -> (B+1)",
    ]


def test_the_class_count_of_the_module_does_not_matter_but_for_the_printed_count():
    ten, thousand = derive_contract(Net(10), (8, 8, 3)), derive_contract(Net(1000), (8, 8, 3))
    assert ten.layers == thousand.layers
    assert (ten.classes, thousand.classes) == (10, 1000)
    assert thousand.parameters(10) == ten.parameters() == 166


def test_a_module_that_always_drops_out_finds_its_random_numbers():
    assert lines(nn.Sequential([nn.Dropout(0.5, deterministic=False)]), (3,))[0] == "layers_0 (B, 3) -> (B, 3)"


class Body(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return nn.Dense(4, name="dense")(x), None


class Lifted(nn.Module):
    @nn.compact
    def __call__(self, x):
        stack = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = stack(name="stack")(x, None)
        x = nn.remat(nn.Dense)(4, name="remat")(x)
        x, _ = CompiledBody(name="compiled")(x)
        return Compiled(name="method")(x)


class Compiled(nn.Module):
    @nn.jit
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="dense")(x)


CompiledBody: Any = nn.jit(Body)


def test_lifted_transformations_have_the_same_lines_each_time():
    dense = "kernel (4, 4) bias (4)"
    expected = [
        "stack (B, 4) -> (B, 4)",
        "stack/dense (B, 4) -> (B, 4) kernel (3, 4, 4) bias (3, 4)",
        f"remat (B, 4) -> (B, 4) {dense}",
        "compiled (B, 4) -> (B, 4)",
        f"compiled/dense (B, 4) -> (B, 4) {dense}",
        "method (B, 4) -> (B, 4)",
        f"method/dense (B, 4) -> (B, 4) {dense}",
        "output -> (B, 4)",
    ]
    for _ in range(3):
        assert lines(Lifted(), (4,)) == expected


def test_partitioned_parameters_are_read_through_their_boxes():
    kernel_init = nn.with_partitioning(nn.initializers.zeros, ("in", "out"))
    assert lines(nn.Dense(2, kernel_init=kernel_init), (5,))[0] == ". (B, 5) -> (B, 2) kernel (5, 2) bias (2)"


def test_nothing_is_computed_and_no_memory_is_taken():
    # A million images of this size would have 40 PB; a 600-pixel one is derived as fast as a small one.
    class Huge(nn.Module):
        classes: int = 10

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.classes)(nn.Conv(64, (3, 3))(x).reshape(x.shape[0], -1))

    before = {id(array) for array in jax.live_arrays()}
    contract = derive_contract(Huge(), (100_000, 100_000, 1))
    assert {id(array) for array in jax.live_arrays()} <= before
    assert contract.parameters() == 3 * 3 * 64 + 64 + 64 * 10**10 * 10 + 10


def test_a_600_pixel_model_is_derived_in_milliseconds():
    class Trunk(nn.Module):
        classes: int = 10

        @nn.compact
        def __call__(self, x):
            for filters in (16, 32, 64, 128):
                x = nn.max_pool(nn.relu(nn.Conv(filters, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(self.classes)(x.mean(axis=(1, 2)))

    derive_contract(Trunk(), (32, 32, 3))
    started = time.process_time()
    derive_contract(Trunk(), (600, 600, 3))
    # Measured: 50 ms for five batch sizes and class counts; one forward pass of them would take seconds.
    assert time.process_time() - started < 2


def test_layers_that_depend_on_the_batch_size_are_refused():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x) if x.shape[0] > 8 else x

    with pytest.raises(ContractError, match="Odd: layers depend on the batch size"):
        derive_contract(Odd(), (2,))


def test_an_axis_that_follows_nothing_is_refused_with_its_layer():
    class Square(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="dense")(jnp.zeros((x.shape[0] ** 2, 3)))

    with pytest.raises(ContractError, match=r"Square: dense: an axis .* 64, 256, 576"):
        derive_contract(Square(), (2,))


def test_a_module_that_needs_more_than_images_is_refused():
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            return x + mask

    with pytest.raises(ContractError, match=r"Pair: module needs more than images; .* without a default: mask"):
        derive_contract(Pair(), (2,))


def test_a_mistake_inside_the_module_goes_through():
    class Broken(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ x

    with pytest.raises(TypeError, match="dot_general"):
        derive_contract(Broken(), (3,))


def test_two_calls_of_a_transformed_layer_are_two_lines():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.remat(nn.Dense)(4, name="dense")
            stack = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(name="stack")
            x, _ = stack(dense(dense(x)), None)
            return stack(x, None)[0]

    assert [line.split(" ")[0] for line in lines(Twice(), (4,))] == [
        *("dense", "dense#2", "stack", "stack/dense", "stack#2", "stack/dense#2", "output")
    ]

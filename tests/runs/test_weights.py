"""Weights come back with the same bits, and their digest is of content alone."""

import hashlib
import tracemalloc

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.contracts import derive_contract
from flaxcnn.errors import ContractError, RunFolderError
from flaxcnn.runs.folder.run_folder import RunFolder
from flaxcnn.runs.folder.weights import load_weights, save_weights, sha256_of

TREE = {"params": {"b": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "a": {"bias": jnp.float32(0.5)}}}


class Model(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.classes, name="head")(images)


HEAD = {"params": {"head": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.float32([0.5, 1, 2])}}}


def load(path):
    return load_weights(path, derive_contract(Model(3), (2,)), 3, HEAD)


def test_what_was_saved_is_loaded(tmp_path):
    save_weights(RunFolder(tmp_path), HEAD)
    loaded = load(tmp_path / "weights.npz")
    np.testing.assert_array_equal(loaded["params"]["head"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(loaded["params"]["head"]["bias"], [0.5, 1, 2])
    assert sha256_of(loaded) == sha256_of(HEAD)
    with np.load(tmp_path / "weights.npz") as file:  # NumPy alone reads it
        assert sorted(file.files) == ["params/head/bias", "params/head/kernel"]


def test_a_small_file_that_would_inflate_to_a_large_one_is_refused_before_it_is_read(tmp_path):
    arrays = {"params/head/kernel": np.zeros((1 << 13, 1 << 13), np.float32), "params/head/bias": np.zeros(3, "f4")}
    np.savez_compressed(tmp_path / "weights.npz", **arrays)  # 256 MiB
    assert (tmp_path / "weights.npz").stat().st_size < 3e5
    tracemalloc.start()
    with pytest.raises(ContractError, match=r"head: kernel has another shape; expected \(2, 3\), found \(8192, 8192\)"):
        load(tmp_path / "weights.npz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"params/head/bias": None}, ContractError, "head: bias missing"),
        ({"params/head/bias/more": np.zeros(3)}, ContractError, "head: bias/more not declared"),
        ({"params": np.zeros(3)}, ContractError, "not declared"),
        ({"": np.zeros(3)}, ContractError, "not declared"),
        (
            {"params/head/bias": np.zeros(3, np.float64)},
            RunFolderError,
            "of another type; expected float32, found float64",
        ),
        ({"params/head/bias": np.zeros(3, np.int32)}, RunFolderError, "of another type; expected float32, found int32"),
        ({"params/head/bias": np.array(["a"] * 3)}, RunFolderError, "damaged: no array of numbers"),
    ],
)
def test_arrays_that_are_not_the_models_are_named(tmp_path, changes, kind, message):
    arrays = {"params/head/kernel": np.zeros((2, 3), "f4"), "params/head/bias": np.zeros(3, "f4"), **changes}
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(kind, match=message):
        load(path)


def test_weights_in_the_other_order_of_bytes_are_the_same_numbers(tmp_path):
    np.savez(
        tmp_path / "weights.npz",
        **{"params/head/kernel": np.ones((2, 3), ">f4"), "params/head/bias": np.ones(3, ">f4")},
    )
    loaded = load(tmp_path / "weights.npz")["params"]["head"]
    assert float(jnp.sum(loaded["kernel"]) + jnp.sum(loaded["bias"])) == 9


def test_the_digest_is_what_its_description_says():
    def digest(header, array):
        return hashlib.sha256(header + array.tobytes()).hexdigest()

    kernel = digest(b"float32 (2, 3)\n", np.arange(6, dtype="<f4"))
    bias = digest(b"float32 ()\n", np.asarray(0.5, "<f4"))
    lines = f"params/a/bias {bias}\nparams/b/kernel {kernel}\n"
    assert sha256_of(TREE) == hashlib.sha256(lines.encode()).hexdigest()


def test_one_bit_changes_the_digest():
    changed = {"params": {**TREE["params"], "a": {"bias": jnp.nextafter(jnp.float32(0.5), jnp.float32(1))}}}
    assert sha256_of(changed) != sha256_of(TREE)


def test_every_cut_or_flipped_file_is_named_as_damaged(tmp_path):
    save_weights(RunFolder(tmp_path), HEAD)
    whole = (tmp_path / "weights.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    for length in range(0, len(whole), 37):
        damaged.write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match=r"damaged\.npz: damaged"):
            load(damaged)
    middle = whole.index(np.arange(6, dtype="<f4").tobytes()) + 10
    damaged.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(RunFolderError, match=r"damaged\.npz: damaged"):
        load(damaged)

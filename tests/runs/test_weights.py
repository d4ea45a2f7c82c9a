"""Weights come back with the same bits, and their digest is of content alone."""

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.errors import RunFolderError
from flaxcnn.runs.folder import RunFolder
from flaxcnn.runs.weights import load_weights, save_weights, sha256_of

TREE = {"params": {"b": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "a": {"bias": jnp.float32(0.5)}}}


def test_what_was_saved_is_loaded(tmp_path):
    save_weights(RunFolder(tmp_path), TREE)
    loaded = load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(loaded["params"]["b"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    assert loaded["params"]["a"]["bias"] == 0.5
    assert sha256_of(loaded) == sha256_of(TREE)
    with np.load(tmp_path / "weights.npz") as file:  # NumPy alone reads it
        assert sorted(file.files) == ["params/a/bias", "params/b/kernel"]


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
    save_weights(RunFolder(tmp_path), TREE)
    whole = (tmp_path / "weights.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    for length in range(0, len(whole), 37):
        damaged.write_bytes(whole[:length])
        with pytest.raises(RunFolderError, match=r"damaged\.npz: damaged"):
            load_weights(damaged)
    middle = whole.index(np.arange(6, dtype="<f4").tobytes()) + 10
    damaged.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(RunFolderError, match=r"damaged\.npz: damaged"):
        load_weights(damaged)

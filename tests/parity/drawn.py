"""Weights drawn by a formula from each tensor's name, the same in any process: only NumPy, for Debian's Python too."""

import hashlib

import numpy as np


def drawn(name, shape, gain=1.0):
    """A tensor of float32, kernels times `gain`; running statistics and scales are far from their initial values."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)
    if name.endswith(("running_var", "moving_variance", "/var")):
        return np.exp(0.3 * values)
    if name.endswith(("running_mean", "moving_mean", "/mean")):
        return 0.2 * values
    if len(shape) >= 2:
        # as large as keeps activations in a usual range
        inputs = shape[:-1] if name.endswith("kernel") else shape[1:]
        return values * np.float32(gain * np.sqrt(2 / max(1, np.prod(inputs))))
    if name.endswith(("weight", "gamma", "scale")):
        return np.exp(0.2 * values)
    return 0.1 * values


def images(count, height, width, channels=3):
    """Images as a normalised photograph has them: smooth, with noise, float32 (count, height, width, channels)."""
    generator = np.random.Generator(np.random.PCG64(7))
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = generator.uniform(2, 20, (count, channels, 2))
    smooth = np.sin(rows[None, None] * waves[..., 0, None, None]) * np.cos(
        columns[None, None] * waves[..., 1, None, None]
    )
    noisy = smooth + 0.3 * generator.standard_normal(smooth.shape)
    return noisy.transpose(0, 2, 3, 1).astype(np.float32)

"""What computes a layer on a CPU: each kind of kernels, or XLA alone."""

from contextlib import contextmanager

import jax
import pytest

from flaxcnn.kernels import library
from tests.layers.agreement import arrays


@contextmanager
def xla():
    """While entered, convolutions and pools run on XLA; programs that are compiled within are not used outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "available", lambda: False)
        jax.clear_caches()
        yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def on_xla():
    """XLA's convolutions and pools."""
    with xla():
        yield


@pytest.fixture(scope="session")
def kernels():
    """The kernels of this session, "xla" or "onednn": `make test-xla` repeats the tests where there are both."""
    return "onednn" if library.available() else "xla"


@pytest.fixture
def problem():
    first, second, images = arrays(0, (5, 5, 1, 8), (3, 3, 8, 6), (4, 10, 10, 1))
    return (first * 0.3, second * 0.2), images

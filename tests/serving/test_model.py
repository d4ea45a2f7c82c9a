"""Which programs a service compiles: those whose bits are `flaxcnn predict`'s."""

import jax
import numpy as np
import pytest

from flaxcnn.prediction.loading import load
from flaxcnn.prediction.trained import _last
from flaxcnn.serving.model import Served
from flaxcnn.serving.settings import Settings


class Rounding:
    """A trained model some of whose programs add in another order."""

    def __init__(self, trained, odd):
        self.odd, self.compiled, self._trained = odd, [], trained

    def __getattr__(self, name):
        return getattr(self._trained, name)

    def predictions(self, images, size=None):
        self.compiled.append(size)
        return {
            "logits": np.ones((len(images), 3), np.float32) + 1e-6 * (size in self.odd),
            "distance": np.full(len(images), size or 1, np.float32),  # its last bits may differ
        }


@pytest.mark.parametrize(
    ("odd", "most", "sizes", "largest"),
    [
        ((), 32, (1, 2, 4, 8, 16, 32), 32),
        ((), 1, (1,), 1),
        ((), 12, (1, 2, 4, 8, 12), 12),
        ((1,), 8, (1, 2, 4, 8), 8),  # one alone is what predict says of one alone
        ((2, 4), 32, (1, 8, 16, 32), 32),
        ((2, 4, 8), 8, (1, 32), 8),  # a batch of 32 serves, which is padded
        ((64,), 64, (1, 2, 4, 8, 16, 32), 32),
    ],
)
def test_a_size_whose_bits_differ_from_those_of_predict_is_left_out(shapes_run, odd, most, sizes, largest):
    trained = Rounding(load(shapes_run[0]), odd)
    served = Served(trained, Settings(max_batch=most))
    served.warm()
    assert served.sizes == sizes
    assert served.most == largest
    for count in range(1, largest + 1):
        before = len(trained.compiled)
        served.answers(list(np.zeros((count, 20, 24, 1), np.uint8)))
        assert trained.compiled[before:] == [min(size for size in sizes if size >= count)]


def test_nothing_compiles_once_it_is_warm(shapes_run):
    served = Served(load(shapes_run[0]), Settings(max_batch=4))
    served.warm()
    compiled = []
    listen = lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for count in range(1, 5):
            assert len(served.answers(list(np.zeros((count, 20, 24, 1), np.uint8)))) == count
        assert compiled == []
        jax.jit(lambda x: x * 3 + count)(np.ones(7))
        assert compiled  # the listener hears what is compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", ["my_net.py:MyNet", "/home/me/my_net.py:MyNet", r"C:\me\my_net.py:MyNet"])
def test_own_code_is_named_without_where_it_lies(name):
    assert _last(name) == "my_net.py:MyNet"

"""A trained model as StableHLO, by `jax.export`: one file for CPU, CUDA and TPU, and for batches of any size.

    exported = jax.export.deserialize(pathlib.Path("model.stablehlo").read_bytes())
    exported.call(images)["logits"]                # uint8 (B, H, W, C)

It needs JAX and not this library. JAX reads what an older JAX wrote for six months at least
(https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees).
"""

import importlib.util
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from flaxcnn.errors import ConfigError
from flaxcnn.export.function import function_of, of_any_batch
from flaxcnn.prediction.trained import Trained

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
READ = "import jax.export; call = jax.export.deserialize(bytearray(open(path, 'rb').read())).call"
"""Python that reads such a file, called `path`, and defines `call`."""


def write_stablehlo(path: Path, trained: Trained) -> None:
    """Write a trained model as StableHLO; an existing file is replaced, not atomically.

    Raises:
        ConfigError: flatbuffers is not installed, which the format needs.
        OSError: it cannot be written.
    """
    if importlib.util.find_spec("flatbuffers") is None:  # of which jax.export says nothing that helps
        fix = "install it with: pip install 'flaxcnn[export]'"
        raise ConfigError("flatbuffers is not installed", where=SUFFIX, expected="the extra export", fix=fix)
    (batch,) = export.symbolic_shape("B", constraints=["B >= 1"])
    images = jax.ShapeDtypeStruct((batch, *trained.form.image_shape), jnp.uint8)
    trace = partial(export.export(jax.jit(function_of(trained)), platforms=PLATFORMS), images)
    exported = of_any_batch(trained, trace, SUFFIX)
    path.write_bytes(exported.serialize())

"""Where the native library cannot be used, convolutions run on XLA, and `why_not` says why: there is never an error."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from flaxcnn.kernels import library
from tests.conftest import CHECKOUT

needs_a_library = pytest.mark.skipif(
    not library.available(), reason=f"no compiled kernels to damage here: {library.why_not()}"
)
COMPUTE = """
import jax.numpy as jnp
from flaxcnn.kernels import library
from flaxcnn.layers.convolution import convolution

NHWC = ("NHWC", "HWIO", "NHWC")
ones = convolution(jnp.ones((1, 3, 3, 8)), jnp.ones((3, 3, 8, 8)), (1, 1), "VALID", dimension_numbers=NHWC)
print(library.describe(), library.available(), float(ones[0, 0, 0, 0]))
print(library.why_not())
"""


def computed(first="", **environment):
    """What another process says of its kernels, and why they are not oneDNN's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(library.VARIABLE)}
    done = subprocess.run(
        [sys.executable, "-c", first + COMPUTE],
        cwd=CHECKOUT,
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    kernels, why = done.stdout.splitlines()
    assert kernels == "XLA False 72.0"
    return why


def current():
    """The library that this Python uses."""
    (minor,) = (
        line.split()[-1]
        for line in Path(jax.ffi.include_dir(), "xla/ffi/api/c_api.h").read_text().splitlines()
        if line.startswith("#define XLA_FFI_API_MINOR")
    )
    return Path(library.__file__).parent / f"libflaxcnn_kernels.ffi{minor}.so"


def test_xla_is_used_where_it_is_asked_for():
    assert computed(FLAXCNN_KERNELS="xla") == "FLAXCNN_KERNELS is xla"


def test_no_library(tmp_path):
    why = computed(FLAXCNN_KERNELS_FOLDER=str(tmp_path))
    assert why == "this installation has no compiled kernels; install a C++ compiler and install flaxcnn again"


@needs_a_library
def test_a_library_that_is_empty(tmp_path):
    (tmp_path / current().name).write_bytes(b"")
    why = computed(FLAXCNN_KERNELS_FOLDER=str(tmp_path))
    assert why.startswith("the compiled kernels cannot be loaded (")
    assert current().name in why


@needs_a_library
def test_a_library_that_is_another(tmp_path):
    (tmp_path / current().name).symlink_to(next(iter(Path(sys.prefix).rglob("libdnnl.so.3"))))
    why = computed(FLAXCNN_KERNELS_FOLDER=str(tmp_path))
    assert why == "the compiled kernels are of another flaxcnn; install flaxcnn again"


@needs_a_library
@pytest.mark.parametrize("renamed", [False, True])
def test_a_library_for_another_jaxlib(renamed, tmp_path):
    header = tmp_path / "include" / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define XLA_FFI_API_MINOR 99\n")
    file = tmp_path / ("libflaxcnn_kernels.ffi99.so" if renamed else current().name)
    file.symlink_to(current())
    first = f"import jax\njax.ffi.include_dir = lambda: {str(tmp_path / 'include')!r}\n"
    why = computed(first, FLAXCNN_KERNELS_FOLDER=str(tmp_path))
    if renamed:
        assert why == f"{file} is for another jaxlib; install flaxcnn again"
    else:
        assert why == "the compiled kernels are for another jaxlib; install a C++ compiler and install flaxcnn again"


@needs_a_library
@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            "raise importlib.metadata.PackageNotFoundError(name)",
            "oneDNN is not installed; pip install 'flaxcnn[onednn]'",
        ),
        ("return None", "the package onednn-cpu-gomp has no libdnnl.so.3; install it again"),
    ],
    ids=["no package", "an empty one"],
)
def test_no_onednn(files, said):
    first = f"import importlib.metadata\ndef files(name):\n    {files}\nimportlib.metadata.files = files\n"
    assert computed(first) == said

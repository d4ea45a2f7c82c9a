"""The native library: where it is, whether it can be used, and what it says of itself.

`native/build.py` compiles it when the package is installed; nothing is compiled here. Without it, or without oneDNN
(the package `onednn-cpu-gomp`), every operation runs on XLA, and `why_not` says why.
"""

import ctypes
import importlib.metadata
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax

from flaxcnn.errors import ConfigError

VARIABLE = "FLAXCNN_KERNELS"  # "xla" or "onednn" in the environment; otherwise whatever there is
_FOLDER_VARIABLE = "FLAXCNN_KERNELS_FOLDER"  # of another build of the library, as with AddressSanitizer
XLA = "XLA"
TARGETS = (
    "flaxcnn_convolution",
    "flaxcnn_convolution_bias",
    "flaxcnn_images_gradient",
    "flaxcnn_kernel_gradient",
    "flaxcnn_pool_maxima",
    "flaxcnn_pool_winners",
    "flaxcnn_pool_expand",
    "flaxcnn_pool_select",
    "flaxcnn_sliding_maxima",
    "flaxcnn_sliding_winners",
    "flaxcnn_sliding_expand",
    "flaxcnn_sliding_select",
    "flaxcnn_channel_sum",
    "flaxcnn_batch_norm",
    "flaxcnn_batch_norm_gradient",
)
_PACKAGE, _ONEDNN = "onednn-cpu-gomp", "libdnnl.so.3"
_INSTRUCTION_SETS = {  # dnnl_cpu_isa_t of oneDNN 3; what is not known here is shown as its number
    0x1: "SSE4.1",
    0x3: "AVX",
    0x7: "AVX2",
    0xF: "AVX2 with VNNI",
    0x1F: "AVX2 with VNNI 2",
    0x27: "AVX-512",
    0x67: "AVX-512 with VNNI",
    0xE7: "AVX-512 with bfloat16",
    0x1EF: "AVX-512 with float16",
    0xFEF: "AVX-512 with AMX",
    0x1FEF: "AVX-512 with AMX float16",
}


class _Loaded(NamedTuple):
    library: ctypes.CDLL | None
    why_not: str


def available() -> bool:
    """Return whether the native library is here and is used. The first call loads it and tells XLA of it."""
    return _load().library is not None


def why_not() -> str:
    """Return why the native library is not used; empty if it is."""
    return _load().why_not


def why_missing() -> str:
    """Return why the native library is not used where one is to be expected: on Linux x86-64, unless XLA was asked for.

    Empty if it is used, or not to be expected.
    """
    expected = (platform.system(), platform.machine()) == ("Linux", "x86_64") and os.environ.get(VARIABLE) != "xla"
    return why_not() if expected else ""


def require() -> None:
    """Raise ConfigError where the environment asks for kernels that there are not."""
    if _wanted() == "onednn":
        _load()


@cache
def describe() -> str:
    """Return which kernels convolutions on a CPU use, as a run's record has it: "XLA", or oneDNN and what decides bits.

    oneDNN chooses its code by the processor's instruction set, so runs on processors with different ones differ in
    rounding.
    """
    library = _load().library
    if library is None:
        return XLA
    version, instructions = library.flaxcnn_onednn_version(), library.flaxcnn_instruction_set()
    numbers = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
    return f"oneDNN {numbers}, {_INSTRUCTION_SETS.get(instructions, f'instruction set {instructions:#x}')}"


def plan(numbers: tuple[int, ...]) -> str | None:
    """Return how the library computes a convolution; None if it does not.

    Args:
        numbers: the fields of `flaxcnn::Convolution` in native/convolution.h, in their order.
    """
    library = _load().library
    if library is None:
        return None
    text = ctypes.create_string_buffer(256)
    array = (ctypes.c_int64 * len(numbers))(*numbers)
    good = library.flaxcnn_plan(array, ctypes.c_int64(len(numbers)), text, ctypes.c_int64(len(text)))
    return text.value.decode() if good else None


@cache
def _load() -> _Loaded:
    wanted = _wanted()
    if wanted == "xla":
        return _Loaded(None, f"{VARIABLE} is xla")
    try:
        return _Loaded(_library(), "")
    except _UnusableError as unusable:
        if wanted == "onednn":
            raise ConfigError(
                "no native kernels", where=VARIABLE, expected="what onednn needs", found=str(unusable)
            ) from None
        return _Loaded(None, str(unusable))


def _wanted() -> str:
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "xla", "onednn"):
        raise ConfigError("unknown kernels", where=VARIABLE, expected='"xla" or "onednn"', found=wanted)
    return wanted


class _UnusableError(Exception):
    """A reason not to use the library."""


def _library() -> ctypes.CDLL:
    folder = Path(os.environ.get(_FOLDER_VARIABLE) or Path(__file__).parent)
    minor = _ffi_minor()
    file = folder / f"libflaxcnn_kernels.ffi{minor}.so"
    if not file.exists():
        lacking = "this installation has no compiled kernels"
        if any(folder.glob("libflaxcnn_kernels.ffi*.so")):
            lacking = "the compiled kernels are for another jaxlib"
        raise _UnusableError(f"{lacking}; install a C++ compiler and install flaxcnn again")
    onednn = _onednn()
    try:
        # By its path first: the kernels ask for it by its name, which the system would not find.
        ctypes.CDLL(str(onednn))
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise _UnusableError(f"the compiled kernels cannot be loaded ({error})") from error
    try:
        made_for = library.flaxcnn_ffi_minor()
    except AttributeError:
        raise _UnusableError("the compiled kernels are of another flaxcnn; install flaxcnn again") from None
    if made_for != minor:
        raise _UnusableError(f"{file} is for another jaxlib; install flaxcnn again")
    try:
        for target in TARGETS:
            handler = jax.ffi.pycapsule(getattr(library, target))
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
    except Exception as error:  # whatever XLA says of handlers made for another version
        raise _UnusableError(f"XLA does not take the compiled kernels ({error}); install flaxcnn again") from error
    if not {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():  # the user's own settings
        library.flaxcnn_keep_memory()
    return library


def _onednn() -> Path:
    try:
        files = importlib.metadata.files(_PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        raise _UnusableError("oneDNN is not installed; pip install 'flaxcnn[onednn]'") from None
    found = next((Path(str(file.locate())) for file in files if file.name == _ONEDNN), None)
    if found is None or not found.exists():
        raise _UnusableError(f"the package {_PACKAGE} has no {_ONEDNN}; install it again")
    return found


def _ffi_minor() -> int:
    """Return the minor version of XLA's foreign function interface in this jaxlib; the kernels are made for one."""
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        text = header.read_text(encoding="utf-8")
    except OSError as error:
        raise _UnusableError(f"{header} cannot be read ({error})") from None
    found = re.search(r"#define XLA_FFI_API_MINOR (\d+)", text)
    if found is None:
        raise _UnusableError(f"{header} does not say its version")
    return int(found[1])

"""ONNX Runtime Web, which runs a model in a browser, from the npm package onnxruntime-web on this machine."""

from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from flaxcnn.errors import ConfigError
from flaxcnn.files import read_bytes, read_json, user_path

PACKAGE = "onnxruntime-web"
FOUND = f"node_modules/{PACKAGE}"
"""Where npm puts the package, below the folder in which it is called."""
_FILES = {  # in the package -> beside the page; .js, since not every host knows that .mjs is JavaScript
    "dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
_MOST = 1 << 27  # bytes of a file; version 1.30 has 14 million
_GET = f"get it with: npm install {PACKAGE}"


class Runtime(NamedTuple):
    """ONNX Runtime Web.

    Attributes:
        version: of the package.
        files: what a page needs of it, the content by the name beside the page.
    """

    version: str
    files: dict[str, bytes]


class _Package(TypedDict):
    """What is read of `package.json`."""

    name: NotRequired[str]
    version: NotRequired[str]


def read_runtime(name: str | None) -> Runtime:
    """Return ONNX Runtime Web.

    Args:
        name: the package's folder; None for `FOUND`, below the current folder.

    Raises:
        ConfigError: there is no such package, or it lacks a file that a page needs.
    """
    folder = Path(FOUND) if name is None else user_path(name, "--runtime")
    if not folder.is_dir():
        fix = f"{_GET}, or name its folder with --runtime"
        expected = f"the folder of the npm package {PACKAGE}"
        raise ConfigError("ONNX Runtime Web is not there", where=folder, expected=expected, found="no folder", fix=fix)
    try:
        package: _Package = read_json(folder / "package.json", _Package, error=ConfigError)
    except FileNotFoundError as error:
        expected = f"the npm package {PACKAGE}"
        raise ConfigError(
            "no npm package", where=folder, expected=expected, found="no package.json", fix=_GET
        ) from error
    found, version = package.get("name", "no name"), package.get("version", "no version")
    if found != PACKAGE:
        raise ConfigError("another npm package", where=folder, expected=PACKAGE, found=found, fix=_GET)
    files = {}
    for path, called in _FILES.items():
        try:
            files[called] = read_bytes(folder / path, _MOST, error=ConfigError)
        except FileNotFoundError as error:
            raise ConfigError(
                f"this version of {PACKAGE} lacks a file",
                where=folder / path,
                expected="a version that has it, such as 1.30",
                found=version,
                fix=f"get a newer one with: npm install {PACKAGE}@latest",
            ) from error
    return Runtime(version, files)

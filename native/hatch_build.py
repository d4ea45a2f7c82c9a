"""Compiles the native convolutions into the wheel that hatchling builds, where the machine can.

A wheel with them has the tag of this machine's platform, py3-none-linux_x86_64. It is not a manylinux wheel: it needs
libgomp.so.1, which manylinux does not promise, libdnnl.so.3 from another package, and a libstdc++ and glibc as new as
those here. One without them is pure, py3-none-any, and its convolutions run on XLA; one line says why.
"""

import importlib.util
import shutil
import sysconfig
import tempfile
from os import environ
from pathlib import Path
from types import ModuleType

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def build_module() -> ModuleType:
    """Load build.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("flaxcnn_native_build", Path(__file__).with_name("build.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NativeHook(BuildHookInterface):
    """The hook of [tool.hatch.build.targets.wheel.hooks.custom]."""

    folder: str | None = None

    def dependencies(self) -> list[str]:
        """Return what an isolated build installs: nothing where there is no compiler to use it."""
        build = build_module()
        try:
            build.check_platform()
            build.find_compiler()
        except build.MissingError:
            return []
        if environ.get("FLAXCNN_KERNELS") == "xla":
            return []
        jaxlib = [
            line.replace("jax", "jaxlib", 1) for line in self.metadata.core.dependencies if line.startswith("jax>")
        ]
        runtime = self.metadata.core.optional_dependencies["onednn"]
        return [*jaxlib, *runtime, *(line.replace(build.RUNTIME, build.HEADERS) for line in runtime)]

    def initialize(self, version: str, build_data: dict) -> None:
        """Compile; an editable installation gets the library in the checkout, a wheel its own."""
        if environ.get("FLAXCNN_KERNELS") == "xla":
            return
        build = build_module()
        try:
            if version == "editable":
                build.build()
                return
            self.folder = tempfile.mkdtemp()
            library = build.build(Path(self.folder))
        except build.MissingError as missing:
            self.app.display_warning(f"convolutions will run on XLA: {missing} and build again")
            return
        for file in (library, library.with_suffix(".json")):
            build_data["force_include"][str(file)] = f"flaxcnn/kernels/{file.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        """Remove what was compiled for the wheel."""
        if self.folder:
            shutil.rmtree(self.folder)

"""Compiles native/*.cc, the convolutions that run on oneDNN, into a shared library for the Python that runs this.

    python native/build.py                      into flaxcnn/kernels/, where flaxcnn looks for it
    python native/build.py --install PINS       the same, after pip has installed what it needs, pinned by this file
    python native/build.py --sanitize           with AddressSanitizer and UBSan, into build/asan/

The library is named after the minor version of XLA's FFI that it was compiled against, libflaxcnn_kernels.ffi5.so,
because environments with different versions of jaxlib share one checkout. A JSON file beside it, of the same name, says
what it was made from; what has not changed is not compiled again.

Without a compiler or the packages one line says what is missing, and the exit code is 0, because convolutions then run
on XLA; with --required it is 2. Nothing happens where FLAXCNN_KERNELS=xla is set. $CXX names a compiler, as
CXX="ccache g++". The standard library suffices, so that this runs before flaxcnn is installed.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ROOT / "native"
KERNELS = ROOT / "flaxcnn" / "kernels"
SANITIZED = ROOT / "build" / "asan"
RUNTIME, HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"  # packages that bring libdnnl.so.3 and dnnl.hpp
PLATFORM = ("Linux", "x86_64")  # the one that both packages have wheels for

# No -march: the library goes to other machines, and oneDNN chooses its instructions when it runs.
COMPILE = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
FAST = ("-O3",)
SANITIZE = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# By file name and without an rpath: flaxcnn loads libdnnl.so.3 from its package first, and the loader then takes the
# library of that name that is there. libgomp.so.1 is what libdnnl.so.3 itself needs.
LINK = ("-shared", "-l:libdnnl.so.3", "-lgomp")


class MissingError(Exception):
    """What a build lacks, in one line, and what the user can do, where there is something."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what + (f"; {remedy}" if remedy else ""))
        self.curable = bool(remedy)


class Parts(NamedTuple):
    """What the library is made from, beside the sources.

    Attributes:
        api: minor version of XLA's FFI, "5"; the major one is still 0.
        xla: folder that holds xla/ffi/api/.
        onednn: folder that holds oneapi/dnnl/.
        libraries: folder that holds libdnnl.so.3.
    """

    api: str
    xla: Path
    onednn: Path
    libraries: Path

    @property
    def library(self) -> str:
        """File name of the library."""
        return f"libflaxcnn_kernels.ffi{self.api}.so"


def check_platform() -> None:
    """Raise MissingError where the packages have no wheels."""
    here = (platform.system(), platform.machine())
    if here != PLATFORM:
        raise MissingError(f"the native ones are for {' on '.join(PLATFORM)}, and this is {' on '.join(here)}")


def find_compiler() -> tuple[list[str], str]:
    """Return the command of a C++ compiler and the first line of its --version."""
    named = os.environ.get("CXX")
    for command in [shlex.split(named)] if named else [["g++"], ["c++"], ["clang++"]]:
        if command and shutil.which(command[0]):
            asked = subprocess.run([*command, "--version"], capture_output=True, text=True, errors="replace")
            if asked.returncode == 0:
                return command, asked.stdout.partition("\n")[0]
    if named:
        raise MissingError(f"CXX={named} does not run", "name a C++ compiler or unset it")
    raise MissingError("no C++ compiler found", "install one (Debian: apt-get install g++)")


def packaged(package: str, ending: str) -> Path | None:
    """Return the file of an installed package whose path ends so, or None where there is none."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix().endswith(f"/{ending}"):
            path = Path(str(file.locate())).resolve()
            return path if path.is_file() else None
    return None


def missing_packages() -> list[str]:
    """Return which of oneDNN's two packages this Python lacks."""
    needed = {RUNTIME: "libdnnl.so.3", HEADERS: "oneapi/dnnl/dnnl.hpp"}
    return [package for package, file in needed.items() if packaged(package, file) is None]


def find_parts() -> Parts:
    """Find the headers and libraries, or raise MissingError."""
    check_platform()
    jaxlib = importlib.util.find_spec("jaxlib")
    xla = Path(jaxlib.origin).parent / "include" if jaxlib and jaxlib.origin else None
    if xla is None or not (xla / "xla" / "ffi" / "api" / "ffi.h").is_file():
        raise MissingError("no jaxlib with the headers of its FFI found", "install flaxcnn")
    defined = (xla / "xla" / "ffi" / "api" / "c_api.h").read_text(encoding="utf-8")
    minor = re.search(r"#define XLA_FFI_API_MINOR (\d+)", defined)
    if not minor:
        raise MissingError("jaxlib's headers do not name the version of its FFI")
    header, library = packaged(HEADERS, "oneapi/dnnl/dnnl.hpp"), packaged(RUNTIME, "libdnnl.so.3")
    if header is None or library is None:
        lacking = " and ".join(missing_packages())
        raise MissingError(f"{lacking} not found", f"pip install {lacking.replace(' and', '')}")
    return Parts(minor[1], xla, header.parents[2], library.parent)


def digest(parts: Parts, flags: Iterable[str]) -> str:
    """Return the SHA-256 of all that decides what the library does, but for the compiler."""
    files = [*sources(".cc"), *sources(".h"), *sorted((parts.xla / "xla" / "ffi" / "api").glob("*.h"))]
    files += [parts.onednn / "oneapi" / "dnnl" / name for name in ("dnnl.hpp", "dnnl_version.h")]
    total = hashlib.sha256(" ".join(flags).encode())
    for file in files:
        total.update(f"\n{file.name}\n".encode() + file.read_bytes())
    return total.hexdigest()


def sources(ending: str) -> list[Path]:
    """Return the files of native/ with this ending."""
    return sorted(NATIVE.glob(f"*{ending}"))


def run(command: list[str]) -> str:
    """Run a compiler and return its warnings, or raise MissingError with the first error."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
        first = next(
            (line for line in lines if re.search(r"\berror\b|undefined reference|cannot find", line)), lines[-1]
        )
        log = ROOT / "build" / "native.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"{shlex.join(command)}\n{ran.stdout}{ran.stderr}", encoding="utf-8")
        said = f"{Path(command[0]).name} could not compile native/: {first.strip()}"
        raise MissingError(said, f"see {log.relative_to(ROOT)}, fix it")
    return ran.stderr


def compile_library(parts: Parts, compiler: list[str], flags: tuple[str, ...], to: Path) -> str:
    """Compile all sources, each in a process of its own, link them and put the library in place whole.

    Returns the compiler's warnings.
    """
    # The names of this machine's folders stay out of the library.
    maps = [f"-ffile-prefix-map={folder}=." for folder in (ROOT, parts.xla, parts.onednn)]
    headers = [part for folder in (parts.xla, parts.onednn) for part in ("-isystem", str(folder))]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [f"{folder}/{source.stem}.o" for source in sources(".cc")]
        commands = [
            [*compiler, *flags, *maps, *headers, "-c", str(source.relative_to(ROOT)), "-o", made]
            for source, made in zip(sources(".cc"), objects, strict=True)
        ]
        warnings = list(pool.map(run, commands))
        linked = f"{folder}/{parts.library}"
        # What is undefined is an error now, not when it is loaded; the sanitizers' own symbols come from LD_PRELOAD.
        checks = [] if flags[-len(SANITIZE) :] == SANITIZE else ["-Wl,-z,defs"]
        run([*compiler, *flags, *checks, *objects, "-o", linked, f"-L{parts.libraries}", *LINK])
        to.mkdir(parents=True, exist_ok=True)
        beside = to / f".{parts.library}.{os.getpid()}"
        try:
            shutil.copy(linked, beside)  # from another file system, perhaps, so that only the renaming is atomic
            beside.replace(to / parts.library)
        finally:
            beside.unlink(missing_ok=True)
    return "".join(warnings)


def build(to: Path = KERNELS, *, sanitize: bool = False, verbose: bool = False) -> Path:
    """Bring the library in a folder up to date.

    Args:
        to: where it goes; made where it is not there.
        sanitize: whether AddressSanitizer and UBSan are compiled in.
        verbose: whether the compiler's warnings are shown.

    Returns:
        The library; its JSON file stands beside it.

    Raises:
        MissingError: something is not there, or the compiler refuses the sources. A library that was made from others
            is then gone.
    """
    parts = find_parts()
    if not sources(".cc"):
        raise MissingError("native/ holds no sources", "check out the whole repository")
    library, note = to / parts.library, (to / parts.library).with_suffix(".json")
    flags = COMPILE + (SANITIZE if sanitize else FAST)
    made_from = {"sources": digest(parts, flags + LINK), "ffi_minor": parts.api, "onednn": metadata.version(HEADERS)}
    try:
        before = json.loads(note.read_text(encoding="utf-8")) if library.is_file() else {}
    except (OSError, ValueError):
        before = {}
    same = {name: before.get(name) for name in made_from} == made_from
    try:
        compiler, version = find_compiler()
        if same and before.get("compiler") == version:
            return library
        print(f"Compiling flaxcnn's convolutions ({version}); this takes some seconds", flush=True)
        warnings = compile_library(parts, compiler, flags, to)
    except MissingError:
        if same:  # made when there was a compiler
            return library
        library.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        raise
    if verbose and warnings:
        print(warnings, file=sys.stderr)
    beside = note.with_name(f".{note.name}.{os.getpid()}")
    beside.write_text(json.dumps({**made_from, "compiler": version}, indent=2) + "\n", encoding="utf-8")
    beside.replace(note)
    return library


def install(pins: str) -> None:
    """Have pip install what is missing of oneDNN, unless there is nothing to compile it with."""
    check_platform()
    packages = missing_packages()
    if not packages:
        return
    find_compiler()
    print(f"Installing {' and '.join(packages)}", flush=True)
    # --ignore-installed: what an interrupted installation left behind counts as installed, but lacks files.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"]
    pip += ["--no-deps", "--ignore-installed", "--constraint", pins, *packages]
    ran = subprocess.run(pip, capture_output=True, text=True, errors="replace")
    if ran.returncode or missing_packages():
        errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR: ")]
        why = f" ({errors[-1].removeprefix('ERROR: ')})" if errors else ""
        raise MissingError(f"pip could not install {' and '.join(packages)}{why}", "see to the package index")


def main() -> int:
    """Build from the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where the library goes")
    parser.add_argument("--sanitize", action="store_true", help="compile AddressSanitizer and UBSan in")
    parser.add_argument("--install", metavar="PINS", help="first let pip install oneDNN with this file of pins")
    parser.add_argument("--required", action="store_true", help="fail where it cannot be built, and show warnings")
    options = parser.parse_args()
    if os.environ.get("FLAXCNN_KERNELS") == "xla" and not options.required:
        return 0
    try:
        if options.install:
            install(options.install)
        to = options.to or (SANITIZED if options.sanitize else KERNELS)
        build(to.absolute(), sanitize=options.sanitize, verbose=options.required)
    except (MissingError, OSError) as missing:  # OSError: a full disk, a checkout that cannot be written
        again = " and run make again" if getattr(missing, "curable", True) else ""
        print(f"convolutions run on XLA: {missing}{again}", file=sys.stderr)
        return 2 if options.required else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

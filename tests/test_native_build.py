"""native/build.py and the wheel: what is compiled, when, where it goes, and what is said where it cannot be."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANDLER = """
#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;
static ffi::Error Twice(ffi::Buffer<ffi::F32> x, ffi::ResultBuffer<ffi::F32> y) {
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);  // fails where oneDNN is not linked to
  for (size_t i = 0; i < x.element_count(); ++i) y->typed_data()[i] = factor() * x.typed_data()[i];
  return ffi::Error::Success();
}
extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* twice(XLA_FFI_CallFrame*);
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    twice, Twice, ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>());
"""
CALL = """
import ctypes, importlib.metadata, sys
import jax, jax.numpy as jnp
onednn = next(file for file in importlib.metadata.files("onednn-cpu-gomp") if file.name == "libdnnl.so.3")
ctypes.CDLL(str(onednn.locate()))
handler = jax.ffi.pycapsule(ctypes.CDLL(sys.argv[1]).twice)
jax.ffi.register_ffi_target("twice", handler, platform="cpu")
print(jax.ffi.ffi_call("twice", jax.ShapeDtypeStruct((3,), jnp.float32))(jnp.arange(3.0)).tolist())
"""
LIGHT = """
#include "oneapi/dnnl/dnnl_version.h"
extern "C" __attribute__((visibility("default"))) float flaxcnn_factor() { return factor(); }
"""
NO_COMPILER = "no C++ compiler found; install one (Debian: apt-get install g++)"


def load_build():
    spec = importlib.util.spec_from_file_location("flaxcnn_native_build", ROOT / "native" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lacking() -> str:
    """Why nothing can be compiled here; empty if it can."""
    build = load_build()
    try:
        build.find_parts()
        build.find_compiler()
    except build.MissingError as missing:
        return str(missing)
    return ""


LACKING = lacking()
compiles = pytest.mark.skipif(bool(LACKING), reason=f"nothing can be compiled here: {LACKING}")
on_linux = pytest.mark.skipif(
    sysconfig.get_platform() != "linux-x86_64", reason="oneDNN's wheels are for Linux, x86-64"
)


class Checkout:
    """A folder with native/build.py and a small source, and its commands."""

    def __init__(self, folder: Path, without_compiler: Path) -> None:
        self.folder, self.without_compiler = folder, without_compiler
        self.source = folder / "native" / "twice.cc"
        self.source.parent.mkdir()
        for name in ("build.py", "hatch_build.py"):
            shutil.copy(ROOT / "native" / name, folder / "native")
        (folder / "native" / "factor.h").write_text("inline float factor() { return 2; }\n")
        self.write(LIGHT)

    def write(self, source: str) -> None:
        self.source.write_text(f'#include "factor.h"\n{source}')

    def python(self, *words: str, compiler: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "FLAXCNN_KERNELS")}
        if not compiler:
            environment["PATH"] = str(self.without_compiler)
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def build(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return self.python("native/build.py", *words, **options)

    def libraries(self) -> list[Path]:
        return sorted(self.folder.glob("flaxcnn/kernels/*.so"))

    def wheel(self, *words: str, name: str = "dist", **options) -> Path:
        code = f"from hatchling.build import build_wheel; build_wheel({name!r})"
        built = self.python("-c", code, **options)
        assert built.returncode == 0, built.stderr
        (wheel,) = (self.folder / name).glob("*.whl")
        return wheel


@pytest.fixture(scope="session")
def without_compiler(tmp_path_factory):
    """A folder with all programs of PATH but the C++ compilers."""
    folder = tmp_path_factory.mktemp("bin")
    for place in os.environ["PATH"].split(os.pathsep):
        for program in sorted(Path(place).glob("*")):
            if "++" not in program.name and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


@pytest.fixture
def checkout(tmp_path, without_compiler):
    return Checkout(tmp_path, without_compiler)


@compiles
def test_a_library_is_compiled_that_jax_and_onednn_run(checkout):
    checkout.write(HANDLER)
    built = checkout.build()
    assert (built.returncode, built.stderr) == (0, "")
    (library,) = checkout.libraries()
    header = Path(importlib.util.find_spec("jaxlib").origin).parent / "include" / "xla" / "ffi" / "api" / "c_api.h"
    minor = next(line.split()[-1] for line in header.read_text().splitlines() if "define XLA_FFI_API_MINOR" in line)
    assert library.name == f"libflaxcnn_kernels.ffi{minor}.so"
    assert json.loads(library.with_suffix(".json").read_text())["ffi_minor"] == minor
    assert sorted(os.listdir(library.parent)) == [library.with_suffix(".json").name, library.name]
    for folder in (checkout.folder, sys.prefix):
        assert os.fsencode(folder) not in library.read_bytes()
    called = checkout.python("-c", CALL, str(library))
    assert called.stdout == "[0.0, 2.0, 4.0]\n", called.stderr


@compiles
def test_it_is_compiled_again_only_if_something_changed(checkout):
    assert checkout.build().stdout.count("\n") == 1
    (library,) = checkout.libraries()
    made = library.stat().st_mtime_ns
    again = checkout.build()
    assert (again.returncode, again.stdout, again.stderr, library.stat().st_mtime_ns) == (0, "", "", made)

    without = checkout.build(compiler=False)  # what was made before serves
    assert (without.returncode, without.stderr, library.stat().st_mtime_ns) == (0, "", made)

    (checkout.folder / "native" / "factor.h").write_text("inline float factor() { return 3; }\n")
    assert checkout.build().returncode == 0
    assert library.stat().st_mtime_ns > made

    checkout.source.write_text(checkout.source.read_text() + "// changed\n")
    without = checkout.build(compiler=False)  # what was made from other sources does not
    assert without.stderr == f"convolutions run on XLA: {NO_COMPILER} and run make again\n"
    assert list(library.parent.iterdir()) == []


@on_linux
@pytest.mark.parametrize(("words", "code"), [((), 0), (("--required",), 2)])
def test_no_compiler_is_one_line_and_fails_only_where_the_library_is_required(checkout, words, code):
    if LACKING and not LACKING.startswith("no C++ compiler"):
        pytest.skip(f"nothing can be compiled here: {LACKING}")
    built = checkout.build(*words, compiler=False)
    assert (built.returncode, built.stdout) == (code, "")
    assert built.stderr == f"convolutions run on XLA: {NO_COMPILER} and run make again\n"
    named = checkout.build(*words, CXX="no-such-compiler -O3")
    assert (named.returncode, named.stderr.count("\n")) == (code, 1)
    assert "CXX=no-such-compiler -O3 does not run" in named.stderr


@compiles
def test_a_compile_error_is_one_line_and_leaves_no_library_of_other_sources(checkout):
    checkout.build()
    checkout.source.write_text(checkout.source.read_text() + "int wrong = nonesuch;\n")
    built = checkout.build()
    assert built.returncode == 0
    assert built.stderr.count("\n") == 1
    line = checkout.source.read_text().count("\n")
    assert f"native/twice.cc:{line}:13: error: " in built.stderr
    assert "nonesuch" in (checkout.folder / "build" / "native.log").read_text()
    assert checkout.libraries() == []
    checkout.source.write_text(
        checkout.source.read_text().replace("= nonesuch", "; extern int elsewhere; int *p = &elsewhere")
    )
    built = checkout.build()  # found when it is linked, not when it is loaded
    assert (built.stderr.count("\n"), checkout.libraries()) == (1, [])
    assert "elsewhere" in built.stderr


def test_xla_asked_for_means_nothing_is_built_and_nothing_said(checkout):
    built = checkout.build(FLAXCNN_KERNELS="xla")
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    assert checkout.libraries() == []


def test_another_platform_is_named(monkeypatch):
    build = load_build()
    monkeypatch.setattr(build.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(build.platform, "machine", lambda: "arm64")
    with pytest.raises(build.MissingError, match=r"are for Linux on x86_64, and this is Darwin on arm64$"):
        build.find_parts()


@pytest.mark.slow
@compiles
def test_an_index_that_pip_cannot_reach_is_one_line(checkout):
    venv.create(checkout.folder / "env", with_pip=True)
    (checkout.folder / "pins.txt").write_text("")
    built = subprocess.run(
        [checkout.folder / "env" / "bin" / "python", "native/build.py", "--install", "pins.txt"],
        cwd=checkout.folder,
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0
    assert built.stderr.count("\n") == 1
    assert built.stderr.startswith("convolutions run on XLA: pip could not install onednn-cpu-gomp and onednn-devel")


@pytest.fixture
def project(checkout):
    """A checkout from which hatchling builds this project's wheel, in small."""
    pytest.importorskip("hatchling", reason="make installs hatchling; this environment lacks it")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, checkout.folder)
    (checkout.folder / "configs").mkdir()
    (checkout.folder / "configs" / "small.json").write_text("{}")
    kernels = checkout.folder / "flaxcnn" / "kernels"
    kernels.mkdir(parents=True)
    (kernels.parent / "__init__.py").write_text("")
    (kernels / "libflaxcnn_kernels.ffi1.so").write_bytes(b"of another time")
    return checkout


def compiled(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if "kernels/" in name or "native/" in name]


@pytest.mark.slow
@compiles
def test_a_wheel_holds_the_library_and_names_its_platform(project):
    project.write(HANDLER)
    wheel = project.wheel()
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    noted, library = sorted(compiled(wheel))
    assert library.startswith("flaxcnn/kernels/libflaxcnn_kernels.ffi")
    assert noted == library.replace(".so", ".json")
    assert [file.name for file in project.libraries()] == [
        "libflaxcnn_kernels.ffi1.so"
    ]  # none compiled in the checkout
    zipfile.ZipFile(wheel).extractall(project.folder / "unpacked")
    called = project.python("-c", CALL, str(project.folder / "unpacked" / library))
    assert called.stdout == "[0.0, 2.0, 4.0]\n", called.stderr


@pytest.mark.parametrize("why", ["no compiler", "asked for"])
def test_a_wheel_without_the_library_is_for_every_platform(project, why):
    wheel = project.wheel(compiler=False) if why == "no compiler" else project.wheel(FLAXCNN_KERNELS="xla")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert compiled(wheel) == []


@compiles
def test_the_source_distribution_builds_the_same_wheel(project):
    packed = project.python("-c", "from hatchling.build import build_sdist; build_sdist('dist')")
    assert packed.returncode == 0, packed.stderr
    (archive,) = (project.folder / "dist").glob("*.tar.gz")
    expected = compiled(project.wheel(name="direct"))
    project.folder /= "unpacked"
    with tarfile.open(archive) as members:
        members.extractall(project.folder, filter="data")
    (project.folder,) = project.folder.iterdir()
    assert project.libraries() == []
    assert compiled(project.wheel()) == expected


@compiles
def test_an_editable_installation_gets_the_library_in_the_checkout(project):
    built = project.python("-c", "from hatchling.build import build_editable; build_editable('dist')")
    assert built.returncode == 0, built.stderr
    assert len(project.libraries()) == 2  # and the one of another time


@on_linux
def test_an_isolated_build_installs_what_it_compiles_with_only_where_there_is_a_compiler(project):
    code = "from hatchling.build import get_requires_for_build_wheel as needs; print(*needs(), sep='\\n')"
    assert project.python("-c", code, compiler=False).stdout.strip() == ""
    assert project.python("-c", code, FLAXCNN_KERNELS="xla").stdout.strip() == ""
    if not LACKING.startswith("no C++ compiler"):
        needs = project.python("-c", code).stdout
        assert [line.partition(">=")[0] for line in needs.splitlines()] == [
            "jaxlib",
            "onednn-cpu-gomp",
            "onednn-devel-cpu-gomp",
        ]


@pytest.mark.faults
@on_linux
def test_a_machine_without_a_compiler_makes_an_environment_and_trains(tmp_path, without_compiler):
    for name in (
        "flaxcnn",
        "configs",
        "native",
        "scripts",
        "constraints",
        "pyproject.toml",
        "Makefile",
        "README.md",
        "train.py",
    ):
        place = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        place(ROOT / name, tmp_path / name)
    for library in tmp_path.glob("flaxcnn/kernels/libflaxcnn_kernels*"):
        library.unlink()
    kept = {name: value for name, value in os.environ.items() if name not in ("CXX", "FLAXCNN_KERNELS", "EXTRAS")}
    made = subprocess.run(
        ["make", "train", "ARGS=--training.steps 50"],
        cwd=tmp_path,
        env={**kept, "PATH": str(without_compiler), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert made.returncode == 0, made.stderr
    said = [line for line in made.stderr.splitlines() if line.startswith("convolutions run on XLA: ")]
    assert said == [f"convolutions run on XLA: {NO_COMPILER} and run make again"]
    assert "test accuracy" in made.stdout
    assert not list(tmp_path.glob("flaxcnn/kernels/*.so"))

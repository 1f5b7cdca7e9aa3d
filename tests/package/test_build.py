"""The three builds, what they contain, and how an install chooses its implementation."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

import aiomysqlx
from aiomysqlx.wire._impl import COMPILED_TEXTS

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(aiomysqlx.__file__).parent
TEXTS = [text.replace(".", "/") for text in COMPILED_TEXTS]
TWINS = [f"wire/_{piece}_cy" for piece in ("binary", "escape", "packet", "row")]
COMPILED = "runtime/_compiled"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
NO_COMPILER = "/nonexistent/cc"
# As quick to compile as can be, and without symbols, as in a wheel.
QUICK = {"CFLAGS": "-O0 -g0", "LDFLAGS": "-Wl,--strip-all"}
# Its cache of wheels knows nothing of AIOMYSQLX_IMPL.
PIP = ["-m", "pip", "--no-cache-dir"]
FROM_SDIST = ["--no-deps", "--no-build-isolation"]
PRINT_IMPLEMENTATION = "import aiomysqlx; print(aiomysqlx.IMPLEMENTATION)"


class BuildError(Exception):
    """A build failed."""


def python(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run this Python; an environment variable that is None is unset."""
    date = {"SOURCE_DATE_EPOCH": "1700000000"}
    merged = {**os.environ, "AIOMYSQLX_IMPL": None, **date, **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        cwd="/",
        capture_output=True,
        text=True,
    )


def build_wheel(sdist: Path, folder: Path, **environment: str | None) -> Path:
    """Build a wheel and give its path; raise BuildError with the build's words."""
    done = python(*PIP, "wheel", *FROM_SDIST, f"--wheel-dir={folder}", str(sdist), **environment)
    if done.returncode:
        raise BuildError(done.stdout + done.stderr)
    (wheel,) = folder.glob("*.whl")
    return wheel


def wheel_names(wheel: Path) -> list[str]:
    """Give the names of the files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return sorted(name.removeprefix("aiomysqlx/") for name in names if "dist-info" not in name)


def build_sdist(source: Path, folder: Path) -> Path:
    """Build an sdist and give its path."""
    done = python("-m", "build", "--sdist", "--no-isolation", f"--outdir={folder}", str(source))
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = folder.iterdir()
    return sdist


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "aiomysqlx"
    ignored = shutil.ignore_patterns(
        ".[!cg]*", "build", "dist", "site", "*.egg-info", "__pycache__"
    )
    shutil.copytree(ROOT, source, ignore=ignored)
    # Left over from work in the source folder, and no part of an archive.
    (source / "aiomysqlx" / "wire" / "_row_cy.c").touch()
    (source / "aiomysqlx" / f"{COMPILED}{SUFFIX}").touch()
    return source


@pytest.fixture(scope="session")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sdist(source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def compiled_wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel"), **QUICK)


@pytest.fixture(scope="session")
def pure_wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel"), AIOMYSQLX_IMPL="python")


@pytest.fixture
def pure_install(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH that has the installed package without its extensions."""
    ignored = shutil.ignore_patterns("*.so", "*.pyx", "*.c", "__pycache__")
    shutil.copytree(INSTALLED, tmp_path / "aiomysqlx", ignore=ignored)
    return tmp_path


def test_sdist_carries_sources_and_no_build_products(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    written_in_cython = {f"aiomysqlx/{name}.pyx" for name in (COMPILED, *TWINS)}
    assert written_in_cython | {f"aiomysqlx/{name}.pxd" for name in TEXTS} <= names
    assert {"aiomysqlx/wire/_impl.pyi", "aiomysqlx/py.typed", "LICENSE", "CHANGELOG.md"} <= names
    assert {
        "tests/package/test_build.py",
        "tools/private_server.py",
        "examples/quickstart.py",
    } <= names
    assert not [name for name in names if name.endswith((".c", ".so", ".pyc"))]


def test_sdist_is_made_of_itself_with_the_same_bytes(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    (unpacked / "setup.py").chmod(0o600)
    os.utime(unpacked / "README.md", (1, 1))

    again = build_sdist(unpacked, tmp_path / "dist")

    assert again.read_bytes() == sdist.read_bytes()


def test_pure_wheel_has_the_same_bytes_again(sdist: Path, pure_wheel: Path, tmp_path: Path) -> None:
    again = build_wheel(sdist, tmp_path, AIOMYSQLX_IMPL="python")

    assert again.read_bytes() == pure_wheel.read_bytes()


def test_build_leaves_nothing_in_the_checkout(source: Path, tmp_path: Path) -> None:
    before = files(source)

    build_sdist(source, tmp_path / "sdist")
    build_wheel(source, tmp_path / "wheel", AIOMYSQLX_IMPL="python")

    assert files(source) == before


def test_index_page_has_links_and_pictures_of_this_version(pure_wheel: Path) -> None:
    with zipfile.ZipFile(pure_wheel) as archive:
        metadata = archive.read(f"aiomysqlx-{aiomysqlx.__version__}.dist-info/METADATA").decode()
    repository = re.search(r"^Project-URL: Repository, (.*)$", metadata, re.M)
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", (ROOT / "README.md").read_text())

    assert repository is not None
    raw = repository[1].replace("github.com", "raw.githubusercontent.com")
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", metadata)
    assert [link for _, link in links if not link.startswith(("http", "#"))] == []
    for target in relative:
        assert ("", f"{repository[1]}/blob/v{aiomysqlx.__version__}/{target}") in links or (
            "!",
            f"{raw}/v{aiomysqlx.__version__}/{target}",
        ) in links


def test_wheel_has_one_shared_object_where_a_compiler_works(compiled_wheel: Path) -> None:
    names = wheel_names(compiled_wheel)

    assert f"-cp3{sys.version_info[1]}-" in compiled_wheel.name
    assert [name for name in names if name.endswith(".so")] == [COMPILED + SUFFIX]
    assert not [name for name in names if name.endswith((".pyx", ".c"))]


def test_wheel_carries_its_types(compiled_wheel: Path, pure_wheel: Path) -> None:
    assert {"py.typed", "wire/_impl.pyi"} <= set(wheel_names(compiled_wheel))
    assert {"py.typed", "wire/_impl.pyi"} <= set(wheel_names(pure_wheel))


def test_pure_wheel_fits_every_python_and_has_python_only(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    assert {Path(name).suffix for name in wheel_names(pure_wheel)} == {".py", ".pyi", ".typed"}


def test_wheel_is_pure_where_no_compiler_works(sdist: Path, tmp_path: Path) -> None:
    wheel = build_wheel(sdist, tmp_path, CC=NO_COMPILER)

    assert wheel.name.endswith("-py3-none-any.whl")


def test_required_extensions_fail_the_build_where_no_compiler_works(
    sdist: Path, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match=NO_COMPILER):
        build_wheel(sdist, tmp_path, AIOMYSQLX_IMPL="cython", CC=NO_COMPILER)


def test_unknown_implementation_fails_the_build(sdist: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="must be 'python', 'cython' or unset, got 'rust'"):
        build_wheel(sdist, tmp_path, AIOMYSQLX_IMPL="rust")


@pytest.mark.parametrize("implementation", ["python", "cython"])
def test_sdist_installs_as_asked_with_the_same_bytes_again(
    sdist: Path, compiled_wheel: Path, pure_wheel: Path, tmp_path: Path, implementation: str
) -> None:
    install = [*PIP, "install", *FROM_SDIST, f"--target={tmp_path}", str(sdist)]

    done = python(*install, AIOMYSQLX_IMPL=implementation, **QUICK)
    assert done.returncode == 0, done.stderr

    shown = python("-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(tmp_path))
    assert (shown.stdout, shown.stderr) == (f"{implementation}\n", "")
    with zipfile.ZipFile(compiled_wheel if implementation == "cython" else pure_wheel) as archive:
        for name in archive.namelist():
            if "dist-info" not in name:
                assert (tmp_path / name).read_bytes() == archive.read(name)


def test_extensions_name_no_folder_of_the_builder(compiled_wheel: Path) -> None:
    with zipfile.ZipFile(compiled_wheel) as archive:
        libraries = [archive.read(name) for name in archive.namelist() if name.endswith(SUFFIX)]

    named = [os.fsencode(name) for name in (sys.base_prefix + "/lib", tempfile.gettempdir() + "/")]
    assert len(libraries) == 1
    assert not [name for name in named for library in libraries if name in library]


def test_pip_takes_the_compiled_wheel_where_it_fits(
    compiled_wheel: Path, pure_wheel: Path, tmp_path: Path
) -> None:
    wheels = [f"--find-links={wheel.parent}" for wheel in (compiled_wheel, pure_wheel)]

    done = python(
        *PIP, "install", "--no-index", "--no-deps", *wheels, f"--target={tmp_path}", "aiomysqlx"
    )
    assert done.returncode == 0, done.stderr

    shown = python("-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(tmp_path))
    assert shown.stdout == "cython\n"


@pytest.mark.parametrize("implementation", ["python", "cython"])
def test_compiled_wheel_runs_as_told(
    compiled_wheel: Path, tmp_path: Path, implementation: str
) -> None:
    with zipfile.ZipFile(compiled_wheel) as archive:
        archive.extractall(tmp_path)

    shown = python(
        "-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(tmp_path), AIOMYSQLX_IMPL=implementation
    )

    assert (shown.stdout, shown.stderr) == (f"{implementation}\n", "")


def test_absent_extensions_are_replaced_in_silence(pure_install: Path) -> None:
    shown = python("-W", "error", "-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(pure_install))

    assert (shown.stdout, shown.stderr) == ("python\n", "")


def test_absent_extensions_are_an_error_when_required(pure_install: Path) -> None:
    shown = python(
        "-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(pure_install), AIOMYSQLX_IMPL="cython"
    )

    assert shown.returncode == 1
    assert "there are no compiled modules" in shown.stderr.splitlines()[-1]


def test_broken_shared_object_warns_once_with_its_cause(pure_install: Path) -> None:
    (pure_install / "aiomysqlx" / f"{COMPILED}{SUFFIX}").write_bytes(b"no shared library")

    shown = python("-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(pure_install))

    assert shown.stdout == "python\n"
    assert shown.stderr.count("RuntimeWarning") == 1
    assert COMPILED in shown.stderr


def test_broken_shared_object_is_left_alone_where_python_is_wanted(pure_install: Path) -> None:
    (pure_install / "aiomysqlx" / f"{COMPILED}{SUFFIX}").write_bytes(b"no shared library")

    shown = python(
        *("-W", "error", "-c", PRINT_IMPLEMENTATION),
        PYTHONPATH=str(pure_install),
        AIOMYSQLX_IMPL="python",
    )

    assert (shown.stdout, shown.stderr) == ("python\n", "")


def test_broken_shared_object_is_an_error_when_required(pure_install: Path) -> None:
    (pure_install / "aiomysqlx" / f"{COMPILED}{SUFFIX}").write_bytes(b"no shared library")

    shown = python(
        "-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(pure_install), AIOMYSQLX_IMPL="cython"
    )

    assert shown.returncode == 1
    assert "ImportError" in shown.stderr


@pytest.mark.parametrize("implementation", ["python", "cython"])
def test_modules_are_of_one_build(
    compiled_wheel: Path, tmp_path: Path, implementation: str
) -> None:
    with zipfile.ZipFile(compiled_wheel) as archive:
        archive.extractall(tmp_path)
    names = [f"aiomysqlx.{name}" for name in COMPILED_TEXTS]
    show = (
        f"import sys, aiomysqlx.engine; print({{sys.modules[name].__file__ for name in {names}}})"
    )

    shown = python("-c", show, PYTHONPATH=str(tmp_path), AIOMYSQLX_IMPL=implementation)

    files = {str(tmp_path / "aiomysqlx" / f"{name}.py") for name in TEXTS}
    if implementation == "cython":
        files = {str(tmp_path / "aiomysqlx" / f"{COMPILED}{SUFFIX}")}
    assert (ast.literal_eval(shown.stdout), shown.stderr) == (files, "")


def test_unknown_implementation_fails_the_import(pure_install: Path) -> None:
    shown = python("-c", PRINT_IMPLEMENTATION, PYTHONPATH=str(pure_install), AIOMYSQLX_IMPL="rust")

    assert shown.returncode == 1
    assert "'rust'" in shown.stderr

"""Build the extensions as AIOMYSQLX_IMPL asks; everything else is in pyproject.toml.

Unset, they are built if Cython and a C compiler work here, else the package is pure; `python`
builds none (a py3-none-any wheel); `cython` fails where they cannot be built. CFLAGS and LDFLAGS
serve special builds: `CFLAGS="-O0 -g -fsanitize=address" LDFLAGS=-fsanitize=address`.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
import tempfile
from distutils.ccompiler import new_compiler
from distutils.errors import CCompilerError, DistutilsError
from distutils.sysconfig import customize_compiler
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Written in Cython, beside their twins in Python.
TWINS = sorted(Path("aiomysqlx").rglob("*.pyx"))
# Python that is compiled as it stands, with its types in a .pxd beside it.
TEXTS = sorted(
    path.with_suffix(".py")
    for path in Path("aiomysqlx").rglob("*.pxd")
    if path.with_suffix(".py").exists()
)
DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "annotation_typing": False,  # the annotations are mypy's: the types are in the .pxd
    "auto_pickle": False,
}


def extensions() -> list[Extension]:
    """Give the extensions to build; none for a pure package."""
    wanted = os.environ.get("AIOMYSQLX_IMPL", "")
    if wanted not in ("", "python", "cython"):
        raise SystemExit(f"AIOMYSQLX_IMPL must be 'python', 'cython' or unset, got {wanted!r}")
    required = wanted == "cython"
    if required and not have_cython():
        raise SystemExit("AIOMYSQLX_IMPL=cython needs Cython to build")
    if required or (not wanted and have_cython() and compiler_works()):
        return [extension(path, required) for path in [*TWINS, *TEXTS]]
    return []


def extension(path: Path, required: bool) -> Extension:
    """Give one extension; setuptools hands its source to Cython when it is built."""
    name = ".".join(path.with_suffix("").parts)
    module = Extension(name, [str(path)], optional=not required)
    if "CFLAGS" not in os.environ and os.name == "posix":
        # Python's own, -O3 -g, take three times as long to compile and gain nothing.
        module.extra_compile_args = ["-O2", "-g0"]
    return module


class BuildInParallel(build_ext):  # type: ignore[misc]
    """Makes C of all sources one by one, which Cython has to, and compiles them side by side."""

    def build_extensions(self) -> None:
        """Build all extensions."""
        if self.extensions:
            from Cython.Build import cythonize

            # The C files are kept out of the source tree.
            made = cythonize(  # type: ignore[no-untyped-call]
                self.extensions, build_dir=self.build_temp, compiler_directives=DIRECTIVES
            )
            for module, c_module in zip(self.extensions, made, strict=True):
                module.sources = c_module.sources
            self.parallel = os.cpu_count()
        super().build_extensions()


def have_cython() -> bool:
    """Tell whether Cython is there; an isolated build always has it."""
    return importlib.util.find_spec("Cython") is not None


def compiler_works() -> bool:
    """Tell whether a C file that includes Python.h compiles here."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <Python.h>\n")
        try:
            compiler.compile(
                [str(source)], output_dir=folder, include_dirs=[sysconfig.get_path("include")]
            )
        except (CCompilerError, DistutilsError):
            return False
    return True


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildInParallel})

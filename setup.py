"""Build what is compiled as AIOMYSQLX_IMPL asks; nearly everything else is in pyproject.toml.

Unset, it is built if Cython and a C compiler work here, else the package is pure; `python` does
not build it (a py3-none-any wheel); `cython` fails where it cannot be built. CFLAGS and LDFLAGS
serve special builds: `CFLAGS="-O0 -g -fsanitize=address" LDFLAGS=-fsanitize=address`.

The same sources give the same bytes again if SOURCE_DATE_EPOCH is set, and nothing is left in the
checkout but what `build_ext --inplace` is asked for.
"""

from __future__ import annotations

import atexit
import gzip
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from distutils.ccompiler import new_compiler
from distutils.errors import CCompilerError, DistutilsError
from distutils.sysconfig import customize_compiler
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

REPOSITORY = "https://github.com/aiomysqlx/aiomysqlx"  # that of [project.urls]
# Where all compiled modules are, in one shared object.
COMPILED = Path("aiomysqlx/runtime/_compiled.pyx")
# Written in Cython: that, and those beside their twins in Python.
CYTHON = sorted(Path("aiomysqlx").rglob("*.pyx"))
# Python that is compiled as it stands, with its types in a .pxd beside it.
TEXTS = sorted(
    path.with_suffix(".py")
    for path in Path("aiomysqlx").rglob("*.pxd")
    if path.with_suffix(".py").exists()
)
# Those with what users call, which has a signature to look at. With function objects for all else,
# too, an import took 4 % longer and 0.3 MB more.
SHOWN = ["executing", "lending", "loaded", "pool/stats", "runtime/awaitable", "runtime/wrapped"]
SHOWN_TEXTS = [Path("aiomysqlx", f"{name}.py") for name in SHOWN]
RPATH = ("-Wl,-rpath", "-Wl,-R")
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the annotations are mypy's: the types are in the .pxd
    "auto_pickle": False,
}


def extensions() -> list[Extension]:
    """Give the extension to build; none for a pure package."""
    wanted = os.environ.get("AIOMYSQLX_IMPL", "")
    if wanted not in ("", "python", "cython"):
        raise SystemExit(f"AIOMYSQLX_IMPL must be 'python', 'cython' or unset, got {wanted!r}")
    required = wanted == "cython"
    if required and not have_cython():
        raise SystemExit("AIOMYSQLX_IMPL=cython needs Cython to build")
    if required or (not wanted and have_cython() and compiler_works()):
        return [one_of_all(required)]
    return []


def one_of_all(required: bool) -> Extension:
    """Give the extension that has all modules in it."""
    sources = [str(path) for path in [*CYTHON, *TEXTS]]
    extension = Extension(module_name(COMPILED), sources, optional=not required)
    if "CFLAGS" not in os.environ and os.name == "posix":
        # Python's own, -O3 -g, take three times as long to compile and gain nothing.
        extension.extra_compile_args = ["-O2", "-g0"]
        if sys.platform.startswith("linux"):
            extension.extra_link_args = ["-Wl,--strip-all"]  # 3.6 MB become 3.2
    return extension


def module_name(path: Path) -> str:
    """Give the dotted name of the module that a source is of."""
    return ".".join(path.with_suffix("").parts)


class BuildAsOne(build_ext):  # type: ignore[misc]
    """Makes C of each source, compiles that side by side, and links one shared object.

    With an object for each of 24 modules, an import took 14 % longer and mapped 0.6 MB more, and a
    select by key 5 % to 9 %: what is run for it was spread over more pages.
    """

    def build_extension(self, extension: Extension) -> None:
        """Build the extension of all modules, of which only what has changed is compiled."""
        from Cython.Build import cythonize

        if os.name == "posix":
            if os.path.isabs(self.build_temp):
                # That folder has another name each time, which a file without -O has in it.
                extension.extra_compile_args.append(f"-ffile-prefix-map={self.build_temp}=.")
            # A Python may have its libraries' folder there, where another machine has anything.
            linker = self.compiler.linker_so
            self.compiler.linker_so = [part for part in linker if not part.startswith(RPATH)]
        made = []
        for path in map(Path, extension.sources):
            directives = {**DIRECTIVES, "binding": path in [*CYTHON, *SHOWN_TEXTS]}
            module = Extension(module_name(path), [str(path)])
            # The C files are kept out of the source tree.
            made += cythonize(  # type: ignore[no-untyped-call]
                module, build_dir=self.build_temp, compiler_directives=directives
            )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            compiled = pool.map(lambda one: self.compile(one.sources[0], extension), made)
            extension.extra_objects = extension.depends = list(compiled)
        extension.sources = []
        super().build_extension(extension)

    def compile(self, source: str, extension: Extension) -> str:
        """Compile a C file that is newer than what was made of it; give the path of that."""
        (made,) = self.compiler.object_filenames([source], output_dir=self.build_temp)
        if (
            self.force
            or not os.path.exists(made)
            or os.path.getmtime(source) > os.path.getmtime(made)
        ):
            self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=extension.include_dirs,
                debug=self.debug,
                extra_postargs=extension.extra_compile_args,
            )
        return str(made)


class RepeatableSdist(sdist):  # type: ignore[misc]
    """Writes an archive that tells neither who made it nor when, if SOURCE_DATE_EPOCH is set."""

    def make_archive(self, base_name: str, archive_format: str, **options: object) -> str:
        """Write the archive of the folder *base_dir*, and give its path."""
        if archive_format != "gztar":
            raise SystemExit(f"expected the format gztar, got {archive_format!r}")
        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=source_date()) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(str(options["base_dir"]), filter=anonymous)  # in the order of the names
        return path


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Give an archive's member without its owner, time and more than the modes 644 and 755."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = source_date()
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def source_date() -> int:
    """Give the time that SOURCE_DATE_EPOCH tells, or that it is."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))


def long_description() -> str:
    """Give the README with links into the repository: an index's page has no files beside it."""
    version = re.search(r'__version__ = "(.*)"', Path("aiomysqlx/__init__.py").read_text("utf-8"))
    assert version
    place = f"v{version[1]}"
    raw = REPOSITORY.replace("//github.com", "//raw.githubusercontent.com")
    text = Path("README.md").read_text("utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!\w+:|#)", rf"\1{raw}/{place}/", text)
    return re.sub(r"(?<!!)(\[[^]]*\]\()(?!\w+:|#)", rf"\1{REPOSITORY}/blob/{place}/", text)


def outside_the_checkout() -> dict[str, dict[str, str]]:
    """Give the options of commands that have them work in a folder that is removed at the end."""
    if "--inplace" in sys.argv:
        return {}  # which builds only what has changed since the last time
    folder = tempfile.mkdtemp(prefix="aiomysqlx-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"build": {"build_base": folder}, "egg_info": {"egg_base": folder}}


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


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildAsOne, "sdist": RepeatableSdist},
    options=outside_the_checkout(),
    long_description=long_description(),
    long_description_content_type="text/markdown",
)

"""The one place that knows there are two implementations of the hot code.

Some of it is written twice, in Python and in Cython: the `_x_py.py` and `_x_cy.pyx`. The rest is
Python that is compiled as it stands, with its types in a `.pxd` beside it: then the import system
finds the compiled module before the `.py`.

`AIOMYSQLX_IMPL` chooses: unset takes the compiled modules where they are built and the Python
ones elsewhere, `python` and `cython` insist. The two sets are never mixed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

from ..runtime.words import user_level

_PIECES = ("_escape", "_packet", "_row", "_binary")
_PACKAGE = __package__.partition(".")[0]
COMPILED_TEXTS = (
    "executing",
    "lending",
    "loaded",
    "pool.home",
    "pool.pool",
    "pool.stats",
    "pool.stock",
    "pool.waiters",
    "runtime.awaitable",
    "runtime.timers",
    "runtime.waiter",
    "runtime.wrapped",
    "sql.plan",
    "sql.planner",
    "sql.shapes",
    "wire.command",
    "wire.dialogue",
    "wire.prepared",
    "wire.protocol",
    "wire.reply",
)


class _SourceFinder:
    """Finds the Python text of the package's modules, compiled or not."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = name.rpartition(".")
        if path is None or package.partition(".")[0] != _PACKAGE:
            return None
        file = os.path.join(path[0], f"{module}.py")
        return spec_from_file_location(name, file) if os.path.isfile(file) else None


def _load(suffix: str) -> tuple[ModuleType, ...]:
    return tuple(import_module(f"{__package__}.{piece}_{suffix}") for piece in _PIECES)


def _load_compiled() -> tuple[ModuleType, ...]:
    """Return the compiled twins, after a look if the texts that are imported later would load.

    They stand beside the twins, under names with the same end: to have them found by the import
    system, here as well as later, would be 1 ms of an import.
    """
    twins = _load("cy")
    folder, _, end = str(twins[0].__file__).rpartition(f"wire{os.sep}_escape_cy")
    for text in COMPILED_TEXTS:
        name = f"{_PACKAGE}.{text}"
        file = f"{folder}{text.replace('.', os.sep)}{end}"
        if not os.path.isfile(file):
            raise ModuleNotFoundError(f"{text} is not compiled", name=name)
        loader = ExtensionFileLoader(name, file)
        loader.create_module(ModuleSpec(name, loader, origin=file))
    return twins


def _choose(wanted: str) -> tuple[str, tuple[ModuleType, ...]]:
    if wanted not in ("", "python", "cython"):
        raise ImportError(f"AIOMYSQLX_IMPL must be 'python', 'cython' or unset, got {wanted!r}")
    if wanted != "python":
        try:
            return "cython", _load_compiled()
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith(f"{_PACKAGE}."):
                raise
            if wanted:
                raise ImportError(
                    "AIOMYSQLX_IMPL is 'cython', and there are no compiled modules of aiomysqlx"
                    f" for this Python ({error.name}): 'pip install -e .' in the source tree builds"
                    " them, with a C compiler"
                ) from None
        except ImportError as error:
            if wanted:
                raise
            warnings.warn(
                f"the compiled modules of aiomysqlx do not load, Python takes over: {error}",
                RuntimeWarning,
                stacklevel=user_level(),
            )
    sys.meta_path.insert(0, _SourceFinder)
    return "python", _load("py")


IMPLEMENTATION, (_escape, _packet, _row, _binary) = _choose(os.environ.get("AIOMYSQLX_IMPL", ""))

bulk = _binary.bulk
execute = _binary.execute

escape = _escape.escape
frame = _escape.frame
has_lists = _escape.has_lists
render = _escape.render
render_rows = _escape.render_rows
take_values = _escape.take_values

Decoder = _packet.Decoder
Reader = _packet.Reader
parse_eof = _packet.parse_eof
parse_ok = _packet.parse_ok

BaseMetadata = _row.BaseMetadata
BaseRow = _row.BaseRow
make_rows = _row.make_rows

"""The one place that knows there are two implementations of the hot code.

Some of it is written twice, in Python and in Cython: the `_x_py.py` and `_x_cy.pyx`. The rest is
Python that is compiled as it stands, with its types in a `.pxd` beside it. All that is compiled is
in one shared object, `runtime/_compiled`, in which the import system finds it before the `.py`.

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
from importlib.util import find_spec, spec_from_file_location
from types import ModuleType

from ..runtime.words import user_level

_PIECES = ("_escape", "_packet", "_row", "_binary")
_TWINS = tuple(f"wire.{piece}_cy" for piece in _PIECES)
_PACKAGE = __package__.partition(".")[0]
COMPILED_TEXTS = (
    "executing",
    "lending",
    "loaded",
    "pool.holdings",
    "pool.home",
    "pool.pool",
    "pool.stats",
    "pool.stock",
    "pool.supply",
    "pool.waiters",
    "runtime.awaitable",
    "runtime.timers",
    "runtime.waiter",
    "runtime.wrapped",
    "sending",
    "sql.plan",
    "sql.planner",
    "sql.shapes",
    "wire.claims",
    "wire.columns",
    "wire.command",
    "wire.dialogue",
    "wire.prepared",
    "wire.protocol",
    "wire.reply",
    "wire.session_state",
    "wire.stopping",
)


class _CompiledFinder:
    """Finds the compiled modules in the shared object that is at *file*."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._names = {f"{_PACKAGE}.{name}" for name in (*_TWINS, *COMPILED_TEXTS)}

    def leave_texts(self) -> None:
        """Leave all but the twins to the import system, which finds the Python of them."""
        self._names = {f"{_PACKAGE}.{name}" for name in _TWINS}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._names:
            return None
        loader = ExtensionFileLoader(name, self._file)
        return spec_from_file_location(name, self._file, loader=loader)


def _choose(wanted: str) -> tuple[str, tuple[ModuleType, ...]]:
    if wanted not in ("", "python", "cython"):
        raise ImportError(f"AIOMYSQLX_IMPL must be 'python', 'cython' or unset, got {wanted!r}")
    spec = find_spec(f"{_PACKAGE}.runtime._compiled")
    if spec is None or spec.origin is None:
        if wanted == "cython":
            raise ImportError(
                "AIOMYSQLX_IMPL is 'cython', and there are no compiled modules of aiomysqlx for"
                " this Python: 'pip install -e .' in the source tree builds them, with a C compiler"
            )
        return "python", _load("py")
    finder = _CompiledFinder(spec.origin)
    sys.meta_path.insert(0, finder)
    if wanted != "python":
        try:
            return "cython", _load("cy")
        except ImportError as error:
            if wanted or isinstance(error, ModuleNotFoundError):
                raise
            warnings.warn(
                f"the compiled modules of aiomysqlx do not load, Python takes over: {error}",
                RuntimeWarning,
                stacklevel=user_level(),
            )
    finder.leave_texts()
    return "python", _load("py")


def _load(suffix: str) -> tuple[ModuleType, ...]:
    return tuple(import_module(f"{__package__}.{piece}_{suffix}") for piece in _PIECES)


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

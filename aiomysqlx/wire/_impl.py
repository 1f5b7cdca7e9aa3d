"""The one place that knows there are two implementations of the hot code.

`AIOMYSQLX_IMPL` chooses: unset takes the compiled modules where they are built and the Python
ones elsewhere, `python` and `cython` insist. The two sets are never mixed.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType

from ..runtime.words import user_level

_PIECES = ("_escape", "_packet", "_row")


def _load(suffix: str) -> tuple[ModuleType, ...]:
    return tuple(import_module(f"{__package__}.{piece}_{suffix}") for piece in _PIECES)


def _choose(wanted: str) -> tuple[str, tuple[ModuleType, ...]]:
    if wanted not in ("", "python", "cython"):
        raise ImportError(f"AIOMYSQLX_IMPL must be 'python', 'cython' or unset, got {wanted!r}")
    if wanted != "python":
        try:
            return "cython", _load("cy")
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith(f"{__package__}."):
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
    return "python", _load("py")


IMPLEMENTATION, (_escape, _packet, _row) = _choose(os.environ.get("AIOMYSQLX_IMPL", ""))

escape = _escape.escape
frame = _escape.frame
has_lists = _escape.has_lists
render = _escape.render
render_rows = _escape.render_rows

Decoder = _packet.Decoder
Reader = _packet.Reader
parse_eof = _packet.parse_eof
parse_ok = _packet.parse_ok

BaseMetadata = _row.BaseMetadata
BaseRow = _row.BaseRow
make_rows = _row.make_rows

"""What is installed on this side."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .. import IMPLEMENTATION, __version__
from ..runtime.words import type_name
from .facts import Client

_LIBRARIES = ("SQLAlchemy", "aiomysql", "PyMySQL", "uvloop", "cryptography", "opentelemetry-api")


def this_side() -> Client:
    """Return what is installed, and what runs; within the event loop."""
    loop = asyncio.get_running_loop()
    return Client(
        aiomysqlx=__version__,
        implementation=IMPLEMENTATION,
        reason=_reason(IMPLEMENTATION, os.environ.get("AIOMYSQLX_IMPL", ""), _is_compiled()),
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        platform=platform.platform(),
        event_loop=type_name(type(loop)),
        debug=loop.get_debug(),
        libraries={name: _version(name) for name in _LIBRARIES},
    )


def _reason(implementation: str, wanted: str, compiled: bool) -> str:
    """Return why it is this implementation that runs."""
    if wanted:
        return f"AIOMYSQLX_IMPL={wanted} asks for it"
    if implementation == "cython":
        return "compiled modules are installed"
    if compiled:
        return "the compiled modules that are installed do not load"
    return f"no compiled modules for this Python are in {Path(__file__).parents[1]}"


def _is_compiled() -> bool:
    return find_spec("aiomysqlx.runtime._compiled") is not None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

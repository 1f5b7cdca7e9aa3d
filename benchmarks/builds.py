"""The build that a benchmark measures: `cy`, compiled, or `py`, pure.

The package decides once, when it is imported, and asv gives every parameter a process of its own.
So nothing but a benchmark's `setup` may import it, and only through `load`.
"""

from __future__ import annotations

import gc
import os
import time
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

_IMPLEMENTATIONS = {"py": "python", "cy": "cython"}
_WANTED = os.environ.get("AIOMYSQLX_IMPL", "")


def client_cpu() -> float:
    """Give the CPU seconds of this process: waiting and the server's work do not count.

    The garbage collector, which timeit turns off, runs: rows are many objects to look through.
    """
    gc.enable()
    return time.process_time()


class Bench:
    """What all timings have in common.

    asv calls `setup` before each call that it times: what takes long there is cached. It times one
    call at a time, so that a call does enough to be timed, most often 1,000 of what is named.
    """

    params: Any = ("py", "cy")
    param_names: Any = ("impl",)
    timer = staticmethod(client_cpu)
    rounds = 2
    repeat = (3, 25, 0.5)


@cache
def load(impl: str) -> ModuleType:
    """Import the package as *impl* and give it.

    Raises `NotImplementedError`, asv's word for "n/a", if that was not built or AIOMYSQLX_IMPL
    asks for the pure one.
    """
    wanted = _IMPLEMENTATIONS[impl]
    if _WANTED == "python" and impl == "cy":
        raise NotImplementedError("AIOMYSQLX_IMPL is python")
    os.environ["AIOMYSQLX_IMPL"] = wanted
    try:
        package = import_module("aiomysqlx")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("aiomysqlx.wire._"):
            raise
        raise NotImplementedError(f"{error.name} is not built") from None
    if wanted != package.IMPLEMENTATION:
        raise RuntimeError(f"aiomysqlx was imported before, as {package.IMPLEMENTATION}")
    return package

"""Counting the instructions that the package takes for a step, of those that Python has."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import aiomysqlx

PACKAGE = str(Path(aiomysqlx.__file__).parent)


class Meter:
    """Counts what the package does while it runs."""

    def __init__(self) -> None:
        self.instructions = 0

    def __enter__(self) -> Meter:
        # Python 3.12 has a tracer see the instructions if some frame wants that when it is set.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.instructions += 1
        return self._trace

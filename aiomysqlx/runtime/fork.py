"""What must not be used in a child process: it shares its parent's sockets."""

from __future__ import annotations

import os
import weakref
from typing import Any

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_in_process(owner: Any) -> None:
    """Have every child that this process forks call `disown()` of *owner*.

    That leaves its sockets to the process that opened them, without touching them.
    """
    _owners.add(owner)


def _disown_all() -> None:
    for owner in tuple(_owners):
        owner.disown()
    _owners.clear()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_disown_all)

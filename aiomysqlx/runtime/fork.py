"""What must not be used in a child process: it shares its parent's sockets."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inheritable(Protocol):
    """Something that owns sockets."""

    def disown(self) -> None:
        """Leave the sockets to the process that opened them, without touching them."""


_owners: weakref.WeakSet[Inheritable] = weakref.WeakSet()


def keep_in_process(owner: Inheritable) -> None:
    """Have *owner* disown its sockets in every child that this process forks."""
    _owners.add(owner)


def _disown_all() -> None:
    for owner in tuple(_owners):
        owner.disown()
    _owners.clear()


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_disown_all)

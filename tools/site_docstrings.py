"""Have the reference show what help() shows, where the text of a class does not say it itself."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from griffe import Docstring, Extension, Module

import aiomysqlx


class RuntimeDocstrings(Extension):
    """Takes docstrings of functions and properties from the package as it is imported.

    Of an inherited method, whose types alone a class repeats, and of a property that a call makes.
    """

    def on_package(self, *, pkg: Module, **_others: Any) -> None:
        """Look through the public classes."""
        for name in aiomysqlx.__all__:
            public = getattr(aiomysqlx, name)
            if not isinstance(public, type) or not public.__module__.startswith(f"{pkg.name}."):
                continue
            shown = pkg[name]
            described = shown.final_target if shown.is_alias else shown
            for member in described.members.values():
                attribute = getattr(public, member.name, None)
                if member.name.startswith("_") or not isinstance(
                    attribute, (FunctionType, property)
                ):
                    continue
                found = inspect.getdoc(attribute)
                if found and not member.docstring:
                    member.docstring = Docstring(found, parent=member)
                if member.is_attribute and isinstance(attribute, property):
                    member.value = None  # the call, which says nothing to a reader
                    member.labels = {"property"}

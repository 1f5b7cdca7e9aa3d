"""The parameters of `execute()`, in all the ways that they may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any


def distill_params(multiparams: Sequence[Any], params: Mapping[str, Any]) -> Sequence[Any]:
    """Return the parameters of `execute()` as a list, one item for each execution."""
    if not multiparams:
        return [params] if params else []
    first = multiparams[0]
    if len(multiparams) > 1:
        return multiparams if _is_group(first) else [multiparams]
    if isinstance(first, (list, tuple)):
        return first if not first or _is_group(first[0]) else [first]
    return [first] if hasattr(first, "keys") else [[first]]


def _is_group(value: Any) -> bool:
    """Return whether *value* holds the parameters of one execution, rather than being one."""
    if isinstance(value, (memoryview, Enum)):  # a combination of flags can be iterated over
        return False
    return hasattr(value, "__iter__") and not hasattr(value, "strip")

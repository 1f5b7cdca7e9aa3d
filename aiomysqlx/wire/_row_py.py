"""Rows: values found by position, name or column."""

from __future__ import annotations

from typing import Any


class BaseMetadata:
    """Where a row's columns are, by what `row[key]` takes and by what `row.name` takes."""

    __slots__ = ("_attributes", "_keymap")

    def __init__(self, keymap: dict[Any, int], attributes: dict[str, int]) -> None:
        for places in (keymap, attributes):
            if type(places) is not dict:
                raise TypeError(f"expected a dictionary, got {type(places).__name__}")
        self._keymap = keymap
        self._attributes = attributes

    def _locate(self, key: Any) -> int:
        """Return the index of a column that the keymap does not have; raises if there is none."""
        raise NotImplementedError


class BaseRow:
    """The values of one row, and the metadata that finds them."""

    __slots__ = ("_metadata", "_values")

    _metadata: BaseMetadata
    _values: tuple[Any, ...]

    def __init__(self, metadata: BaseMetadata, values: tuple[Any, ...]) -> None:
        if not isinstance(metadata, BaseMetadata):
            raise TypeError(f"expected BaseMetadata, got {type(metadata).__name__}")
        if not isinstance(values, tuple):
            raise TypeError(f"expected a tuple of values, got {type(values).__name__}")
        _set_metadata(self, metadata)
        _set_values(self, values)

    def __getattr__(self, name: str) -> Any:
        """Return the value of the column called *name*."""
        if name == "_metadata":  # of a row that was never filled: asking for it leads here again
            raise AttributeError(name)
        index = self._metadata._attributes.get(name)
        if index is None:
            index = _locate_attribute(self._metadata, name)
        return self._values[index]

    def __getitem__(self, key: Any) -> Any:
        """Return the value of a column by name, position or column; a slice gives a tuple."""
        if isinstance(key, slice):
            return self._values[key]
        index = self._metadata._keymap.get(key)
        if index is None:
            index = self._metadata._locate(key)
        return self._values[index]

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"rows are read-only: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"rows are read-only: cannot delete {name!r}")

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the values as a tuple."""
        return self._values


_set_metadata = BaseRow.__dict__["_metadata"].__set__
_set_values = BaseRow.__dict__["_values"].__set__


def make_rows(cls: type[BaseRow], metadata: BaseMetadata, values: list[Any], start: int) -> None:
    """Put a row of *cls* in the place of each tuple in *values*, from *start* on."""
    if type(values) is not list:
        raise TypeError(f"expected a list of rows, got {type(values).__name__}")
    if not isinstance(metadata, BaseMetadata):
        raise TypeError(f"expected BaseMetadata, got {type(metadata).__name__}")
    if not (isinstance(cls, type) and issubclass(cls, BaseRow)):
        raise TypeError(f"expected a subclass of BaseRow, got {cls!r}")
    values[start:] = [cls(metadata, row) for row in values[start:]]


def _locate_attribute(metadata: BaseMetadata, name: str) -> int:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return metadata._locate(name)
    except KeyError as error:
        raise AttributeError(error.args[0]) from None

# cython: language_level=3, binding=True, auto_pickle=False, autotestdict=False
"""Rows: values found by position, name or column."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject, PyObject_GenericGetAttr
from cpython.ref cimport Py_INCREF


cdef class BaseRow:
    """The values of one row, and the metadata that finds them."""

    cdef readonly object _metadata
    cdef readonly object _values
    # The metadata's dictionaries, kept here so that an access touches no Python attribute.
    cdef dict _keymap
    cdef dict _attributes

    def __init__(self, metadata, values):
        if not isinstance(values, tuple):
            raise TypeError(f"expected a tuple of values, got {type(values).__name__}")
        self._metadata = metadata
        self._values = values
        self._keymap = metadata._keymap
        self._attributes = metadata._attributes

    def __getattribute__(self, name):
        """Give the value of the column called *name*."""
        cdef PyObject* found
        if self._attributes is not None:
            # Columns first: a failed generic look-up before them costs ten times this one.
            found = PyDict_GetItemWithError(self._attributes, name)  # borrowed
            if found is not NULL:
                return self._values[<object>found]
        try:
            return PyObject_GenericGetAttr(self, name)
        except AttributeError:
            pass
        return self._values[_locate_attribute(self._metadata, name)]

    def __getitem__(self, key):
        """Give the value of a column by name, position or column object; a slice gives a tuple."""
        cdef PyObject* found
        if isinstance(key, slice):
            return self._values[key]
        found = PyDict_GetItemWithError(self._keymap, key)  # borrowed
        if found is not NULL:
            return self._values[<object>found]
        return self._values[self._metadata._locate(key)]

    def __len__(self):
        """Give the number of columns."""
        return len(self._values)

    def __setattr__(self, name, value):
        raise AttributeError(f"rows are read-only: cannot set {name!r}")

    def __delattr__(self, name):
        raise AttributeError(f"rows are read-only: cannot delete {name!r}")

    def as_tuple(self):
        """Give the values as a tuple."""
        return self._values


def make_rows(cls, metadata, values):
    """Give a row of *cls* for each tuple of values."""
    cdef Py_ssize_t index, count
    cdef list rows
    cdef BaseRow row
    cdef object row_values
    cdef dict keymap = metadata._keymap
    cdef dict attributes = metadata._attributes
    if not isinstance(values, list):
        raise TypeError(f"expected a list of rows, got {type(values).__name__}")
    count = PyList_GET_SIZE(values)
    rows = PyList_New(count)
    for index in range(count):
        row_values = <object>PyList_GET_ITEM(values, index)  # borrowed
        if not isinstance(row_values, tuple):
            raise TypeError(f"expected a tuple of values, got {type(row_values).__name__}")
        row = <BaseRow?>cls.__new__(cls)
        row._metadata = metadata
        row._values = row_values
        row._keymap = keymap
        row._attributes = attributes
        Py_INCREF(row)  # PyList_SET_ITEM steals it
        PyList_SET_ITEM(rows, index, row)
    return rows


cdef object _locate_attribute(metadata, name):
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return metadata._locate(name)
    except KeyError as error:
        raise AttributeError(error.args[0]) from None

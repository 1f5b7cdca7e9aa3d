# cython: language_level=3, binding=True, auto_pickle=False, autotestdict=False
"""Rows: values found by position, name or column."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject, PyObject_GenericGetAttr, PyTypeObject

cdef extern from "Python.h":
    bint PyObject_GC_IsTracked(object)
    void PyObject_GC_UnTrack(void *)


cdef class BaseMetadata:
    """Where a row's columns are, by what `row[key]` takes and by what `row.name` takes."""

    def __cinit__(self):
        self._keymap = {}
        self._attributes = {}

    def __init__(self, keymap, attributes):
        for places in (keymap, attributes):
            if type(places) is not dict:
                raise TypeError(f"expected a dictionary, got {type(places).__name__}")
        self._keymap = keymap
        self._attributes = attributes

    def _locate(self, key):
        """Return the index of a column that the keymap does not have; raises if there is none."""
        raise NotImplementedError


cdef class BaseRow:
    """The values of one row, and the metadata that finds them."""

    def __init__(self, metadata, values):
        if not isinstance(metadata, BaseMetadata):
            raise TypeError(f"expected BaseMetadata, got {type(metadata).__name__}")
        if not isinstance(values, tuple):
            raise TypeError(f"expected a tuple of values, got {type(values).__name__}")
        self._metadata = metadata
        self._values = values

    def __getattribute__(self, name):
        """Return the value of the column called *name*."""
        cdef PyObject* found
        cdef object values = self._values  # kept, whatever the index does to the row
        if self._metadata is not None:
            # Columns first: a failed generic look-up before them costs ten times this one.
            found = PyDict_GetItemWithError(self._metadata._attributes, name)  # borrowed
            if found is not NULL:
                return values[<object>found]
        try:
            return PyObject_GenericGetAttr(self, name)
        except AttributeError:
            pass
        if self._metadata is None:
            raise AttributeError("_metadata")
        return values[_locate_attribute(self._metadata, name)]

    def __getitem__(self, key):
        """Return the value of a column by name, position or column; a slice gives a tuple."""
        cdef PyObject* found
        cdef object values = self._values  # kept, whatever the key does to the row
        if isinstance(key, slice):
            return values[key]
        if self._metadata is None:
            raise AttributeError("_metadata")
        found = PyDict_GetItemWithError(self._metadata._keymap, key)  # borrowed
        if found is not NULL:
            return values[<object>found]
        return values[self._metadata._locate(key)]

    def __len__(self):
        """Return the number of columns."""
        return len(self._values)

    def __setattr__(self, name, value):
        raise AttributeError(f"rows are read-only: cannot set {name!r}")

    def __delattr__(self, name):
        raise AttributeError(f"rows are read-only: cannot delete {name!r}")

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the values as a tuple."""
        return self._values


cpdef object make_rows(cls, metadata, values, Py_ssize_t start):
    """Put a row of *cls* in the place of each tuple in *values*, from *start* on."""
    cdef Py_ssize_t index
    cdef BaseMetadata where
    cdef BaseRow row
    cdef object row_values
    cdef list rows
    cdef bint plain
    cdef type kind
    cdef tuple nothing = ()
    if type(values) is not list:
        raise TypeError(f"expected a list of rows, got {type(values).__name__}")
    if not isinstance(metadata, BaseMetadata):
        raise TypeError(f"expected BaseMetadata, got {type(metadata).__name__}")
    # issubclass() takes whatever has __bases__ for a class; adds_nothing() must not.
    if not (isinstance(cls, type) and issubclass(cls, BaseRow)):
        raise TypeError(f"expected a subclass of BaseRow, got {cls!r}")
    rows = values
    start = max(0, start + len(rows) if start < 0 else start)
    for index in range(start, len(rows)):
        row_values = rows[index]
        if not isinstance(row_values, tuple):
            raise TypeError(f"expected a tuple of values, got {type(row_values).__name__}")
    where = metadata
    kind = <type>cls
    plain = adds_nothing(cls)
    for index in range(start, len(rows)):
        row_values = rows[index]
        # BaseRow.__new__(cls) looks the method up for each row: a tenth of what a row takes in all.
        row = <BaseRow>(<PyTypeObject *>BaseRow).tp_new(kind, <PyObject *>nothing, NULL)
        row._metadata = where
        row._values = row_values
        if plain and not PyObject_GC_IsTracked(row_values):
            # None of the values can refer back to the row. The collector, which would look at
            # every row time and again, takes 45 % of the time of 100,000 rows otherwise. The price:
            # rows that their own metadata leads to, by a table's `info` say, are never collected.
            PyObject_GC_UnTrack(<void *>row)
        rows[index] = row


cdef bint adds_nothing(cls) except -1:
    """Tell whether objects of *cls* hold nothing besides what `BaseRow` declares."""
    cdef PyTypeObject *type_ = <PyTypeObject *>cls
    return (
        type_.tp_dictoffset == 0
        and type_.tp_basicsize == (<PyTypeObject *>BaseRow).tp_basicsize
    )


cdef object _locate_attribute(metadata, name):
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        return metadata._locate(name)
    except KeyError as error:
        raise AttributeError(error.args[0]) from None

"""What the compiled modules beside this one call without a Python call in between."""


cdef class BaseMetadata:
    cdef readonly dict _keymap
    cdef readonly dict _attributes


cdef class BaseRow:
    cdef readonly BaseMetadata _metadata
    cdef readonly object _values


cpdef object make_rows(cls, metadata, values, Py_ssize_t start)

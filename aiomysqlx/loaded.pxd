cimport cython
from .wire.reply cimport ResultSet


cdef class Loaded:
    cdef public object _connection
    cdef public object _cursor
    cdef public object _inserted
    cdef public object _lastrowid
    cdef public object _metadata
    cdef public list _results
    cdef public object _rowcount
    cdef public object _statement

    @cython.locals(result=ResultSet)
    cpdef Loaded _load(self, list results)
    cpdef object _take_keys(self, object result)
    cpdef object _make_rows(self, ResultSet result)
    cpdef ResultSet _open(self)
    cpdef object _end(self)

    @cython.locals(rows=list)
    cpdef object _take_first(self)

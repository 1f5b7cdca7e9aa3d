cimport cython


cdef class Kind:
    cdef public frozenset classes
    cdef public frozenset codes
    cdef public bint is_binary


cdef class Statement:
    cdef public object number
    cdef public int parameters
    cdef public list taken
    cdef public list columns
    cdef public object refused
    cdef public Py_ssize_t uses
    cdef public Py_ssize_t latest
    cdef public bint asked
    cdef public bint fits
    cdef public bint as_text


cdef class Statements:
    cdef public Py_ssize_t threshold
    cdef public Py_ssize_t most
    cdef public dict known
    cdef public list closing
    cdef public object as_text
    cdef public object told
    cdef public frozenset asked_for
    cdef public Statement latest
    cdef public bint text_next
    cdef Py_ssize_t _uses

    @cython.locals(statement=Statement)
    cdef Statement _find(self, object key)
    cdef object _forget_uses(self)
    cpdef object see(self, bytes packet)


@cython.locals(kind=Kind, number=Py_ssize_t)
cpdef bint takes(tuple kinds, list values) except -1
cpdef bytes written(object number, list values, object encoding, object mode)

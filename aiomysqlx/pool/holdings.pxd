from .home cimport Ages, Home
from .stats cimport Counts
from .waiters cimport Underway, Waiters


cdef class Holdings:
    cdef object __weakref__
    cdef public object keeper
    cdef public object minsize
    cdef public object maxsize
    cdef public Ages ages
    cdef bint _rotates
    cdef public bint closing
    cdef public bint careful
    cdef public dict idle
    cdef public set lent
    cdef public Underway underway
    cdef Home _home
    cdef public Waiters waiters
    cdef public Counts counts
    cdef public object nodes
    cdef public object pace
    cdef object _generation
    cdef public list _leaving
    cdef public object empty

    cpdef object pop_idle(self)
    cdef object _next_idle(self)
    cpdef object unfit(self, thing)

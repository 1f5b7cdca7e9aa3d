from .home cimport Home
from .stats cimport Counts
from .stock cimport Stock
from .waiters cimport Waiters


cdef class Pool:
    cdef object __weakref__
    cdef public Home home
    cdef public Stock stock
    cdef Waiters _waiters
    cdef Counts _counts
    cdef bint _has_reset
    cdef object _loop_end
    cdef Py_ssize_t _max_waiting

    cpdef object take(self)
    cpdef object release(self, thing, place=*)
    cpdef object _drop(self, thing)
    cpdef object _give_up(self, waiter, error)

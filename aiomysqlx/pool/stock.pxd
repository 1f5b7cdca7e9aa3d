cimport cython
from .home cimport Ages, Home
from .stats cimport Counts
from .waiters cimport Underway, Waiters, Work


cdef class Stock:
    cdef object __weakref__
    cdef public object keeper
    cdef public object minsize
    cdef public object maxsize
    cdef public Ages ages
    cdef object _patience
    cdef bint _rotates
    cdef public bint closing
    cdef public bint careful
    cdef public dict idle
    cdef public set lent
    cdef public Underway underway
    cdef Home _home
    cdef public Waiters waiters
    cdef public Counts counts
    cdef public object _retry
    cdef public double _retry_seconds
    cdef public object _idle_check
    cdef object _generation
    cdef public object nodes
    cdef public object pace
    cdef public list _leaving
    cdef list _ended
    cdef public object empty

    cpdef object grow(self)
    cdef object _unattended(self)
    cpdef object pop_idle(self)
    cdef object _next_idle(self)

    @cython.locals(work=Work)
    cpdef object _finished(self, future)
    cpdef object _keep(self, thing, Work work, done)
    cpdef object offer(self, thing)
    cpdef object unfit(self, thing)
    cpdef object bring_back(self, thing, place)

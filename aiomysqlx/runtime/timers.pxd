cimport cython


cdef class Timer:
    cdef public double when
    cdef Timers _timers
    cdef object _call
    cdef tuple _arguments

    cpdef object cancel(self)
    cdef object _ring(self)


cdef class Timers:
    cdef object __weakref__
    cdef object _loop
    cdef list _pending
    cdef object _handle
    cdef double _rings_at

    cdef object _set(self, double when)

    @cython.locals(timer=Timer)
    cpdef object ring(self)

from .holdings cimport Holdings


cdef class Supply(Holdings):
    cdef object _patience
    cdef public object _retry
    cdef public double _retry_seconds

    cpdef object grow(self)
    cdef object _unattended(self)
    cpdef object _finished(self, future)

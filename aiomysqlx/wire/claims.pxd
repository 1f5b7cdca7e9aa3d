from .protocol cimport Wire


cdef class Claims:
    cdef public Wire protocol
    cdef public object loop
    cdef public object writer
    cdef public object lease
    cdef public object undone
    cdef public object barred
    cdef public object pooled
    cdef public object connected_at
    cdef public object close_reason
    cdef public object _working

    cdef object _in_progress(self)

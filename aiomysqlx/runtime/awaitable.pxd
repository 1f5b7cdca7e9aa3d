cdef class Done:
    pass

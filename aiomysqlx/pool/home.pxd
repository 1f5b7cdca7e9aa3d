cdef class Home:
    cdef public object loop
    cdef object _owner
    cdef object _context
    cdef public bint inherited

    cpdef object check_loop(self)
    cpdef object check_thread(self)


cdef class Ages:
    cdef object loop
    cdef object recycle
    cdef object pre_ping
    cdef public object max_lifetime
    cdef public object max_idle
    cdef public bint any
    cdef public dict _ends

    cpdef object unfit(self, thing)
    cpdef bint doubtful(self, thing) except -1
    cpdef double unused(self, thing) except? -1

cdef class Counts:
    cdef public Py_ssize_t opened
    cdef public object closed
    cdef public Py_ssize_t acquired
    cdef public Py_ssize_t waited
    cdef public double wait_seconds
    cdef public double longest_wait
    cdef public Py_ssize_t timeouts
    cdef public Py_ssize_t turned_away
    cdef public Py_ssize_t refused

    cpdef object add_wait(self, double seconds)

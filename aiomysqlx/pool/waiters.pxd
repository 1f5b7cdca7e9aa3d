from .home cimport Home


cdef class Waiters:
    cdef object _loop
    cdef object _attended
    cdef object _behind

    cpdef object join(self, first=*, since=*)
    cpdef object leave(self, waiter)
    cpdef bint serve(self, thing) except -1
    cpdef object unattended(self, Py_ssize_t count)
    cdef object _pop(self)
    cdef bint _remove(self, waiter) except -1


cdef class Work:
    cdef public object failure
    cdef public object place
    cdef public object thing
    cdef public object waiter
    cdef public double since


cdef class Underway:
    cdef Home _home
    cdef public dict works
    cdef public Py_ssize_t opening
    cdef Py_ssize_t _coming
    cdef public dict _coming_back
    cdef public object _impatience

    cpdef object add(self, future, Work work, finished)
    cpdef Work remove(self, future)
    cpdef object rely_on(self, future)
    cpdef object be_impatient(self, call)

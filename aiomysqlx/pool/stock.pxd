cimport cython
from .supply cimport Supply
from .waiters cimport Work


cdef class Stock(Supply):
    cdef public object _idle_check
    cdef list _ended

    @cython.locals(work=Work)
    cpdef object _finished(self, future)
    cpdef object _keep(self, thing, Work work, done)
    cpdef object offer(self, thing)
    cpdef object bring_back(self, thing, place)

cimport cython
from .plan cimport Plan


cdef class Known:
    cdef public object statement
    cdef public bint writes
    cdef public object extracted
    cdef public object collected
    cdef public dict plans

    cpdef tuple planned(self, object parameters, bint many)
    cpdef object store(self, Plan plan, object parameters, bint many)


cdef class Planner:
    cdef object __weakref__
    cdef public object dialect
    cdef public bint no_backslash_escapes
    cdef public object _converters
    cdef public object _known
    cdef public object _plans
    cdef public object _shapes
    cdef public object _seen

    @cython.locals(known=Known)
    cdef Known _look_up(self, object statement)

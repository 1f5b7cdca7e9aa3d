from .claims cimport Claims
from .protocol cimport Wire
from .reply cimport Reply, ResultSet


cdef class Stopping(Claims):
    cdef public double last_usage
    cdef public object open_beside
    cdef public object identity
    cdef public double _late_at
    cdef public Reply left
    cdef public ResultSet later
    cdef public object _killing

    cpdef object _abandon(self, Reply reply)
    cpdef object _expect(self, Wire protocol, Reply reply, object seconds=*)

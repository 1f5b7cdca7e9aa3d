cimport cython
from .pool.pool cimport Pool
from .sql.planner cimport Planner
from .wire.dialogue cimport Dialogue


cdef class Lent:
    cdef public object _blocks
    cdef public object _compiled_cache
    cdef public object _connection
    cdef public object _engine
    cdef public object _gtid
    cdef public object _place
    cdef public Planner _planner
    cdef public Pool _pool
    cdef public bint _released
    cdef public Dialogue _session
    cdef public tuple _syntax
    cdef public object _timeout
    cdef public object _warnings


cdef class Lender:
    cdef public object _acquire_timeout
    cdef public object _compiled_cache
    cdef public object _lends
    cdef public Pool _pool
    cdef public object _reads
    cdef public object _statement_timeout

    @cython.locals(conn=Lent)
    cdef Lent _new(self, frame)

    @cython.locals(conn=Lent)
    cdef object _lend(self, timeout, frame)
    cpdef object _take_back(self, Lent conn, error)

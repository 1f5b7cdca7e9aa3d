cimport cython
from ..runtime.waiter cimport Waiter
from .command cimport Command
from .protocol cimport Wire
from .reply cimport Reply, ResultSet


cdef class Dialogue:
    cdef public Wire protocol
    cdef public object login
    cdef public object options
    cdef public object loop
    cdef public object observer
    cdef public object writer
    cdef public object describe
    cdef public double last_usage
    cdef public tuple counts
    cdef public object lease
    cdef public object undone
    cdef public bint pristine
    cdef public bint just_ended
    cdef public object kept
    cdef public object barred
    cdef public object max_allowed_packet
    cdef public object open_beside
    cdef public object identity
    cdef public bint renumbered
    cdef public object pooled
    cdef public object connected_at
    cdef public object close_reason
    cdef public tuple chosen
    cdef public double _late_at
    cdef public object _working
    cdef public object leading
    cdef public Reply left
    cdef public ResultSet later
    cdef public object _killing

    cdef bint _unsettled(self) except -1
    cdef object _launch(self, Command command)

    @cython.locals(protocol=Wire, packet=bytes, reply=Reply)
    cdef Reply _start(self, Command command, bint behind)

    cdef object _conclude(self, ResultSet latest, Command command)

    @cython.locals(reply=Reply)
    cpdef object _post(self, Command command)

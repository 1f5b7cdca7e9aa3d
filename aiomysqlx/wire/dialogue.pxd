cimport cython
from .command cimport Command
from .protocol cimport Wire
from .reply cimport Reply, ResultSet
from .stopping cimport Stopping


cdef class Dialogue(Stopping):
    cdef public object login
    cdef public object options
    cdef public object observer
    cdef public object describe
    cdef public tuple counts
    cdef public bint pristine
    cdef public bint just_ended
    cdef public object kept
    cdef public object max_allowed_packet
    cdef public bint renumbered
    cdef public tuple chosen
    cdef public object leading

    cdef bint _unsettled(self) except -1
    cdef object _launch(self, Command command)

    @cython.locals(protocol=Wire, packet=bytes, reply=Reply)
    cdef Reply _start(self, Command command, bint behind)

    cdef object _conclude(self, ResultSet latest, Command command)

    @cython.locals(reply=Reply)
    cpdef object _post(self, Command command)

cimport cython
from ..runtime.timers cimport Timers
from ..runtime.waiter cimport Waiter
from . cimport _packet_cy
from .command cimport Command
from .reply cimport Reply
from .session_state cimport SessionState


cdef int _CODE
cdef int _PREPARE
cdef int _QUERY


cdef class Wire(SessionState):
    cdef public _packet_cy.Reader reader
    cdef public object most_rows
    cdef object _max_packet
    cdef public list replies
    cdef public object runs_ahead
    cdef list _later
    cdef list _settled
    cdef public object lost
    cdef public tuple unanswered
    cdef public int led
    cdef public bint closed_here
    cdef public object closed
    cdef public object _loop
    cdef bint _debug
    cdef public Timers timers
    cdef bint _deprecate_eof
    cdef public bint _mariadb
    cdef public object _transport
    cdef object _writable
    cdef object _idle
    cdef public bint _paused
    cdef double _spent
    cdef double _stalled_since
    cdef public double longest_stall
    cdef Py_ssize_t _spare
    cdef object _on_excess
    cdef Reply _after_file

    @cython.locals(packet=bytes, sequence=int)
    cdef Reply _send(self, Command command, object describe, object encoding)

    @cython.locals(settled=list, waiter=Waiter)
    cdef object _wake_tasks(self)

    @cython.locals(settled=list, waiter=Waiter)
    cdef object _tell_tasks(self)
    cdef object _settle(self, Reply reply)
    cdef object _parse(self)
    cdef object _read_on(self)
    cdef object _hold(self, Reply reply)
    cpdef object pull(self, Reply reply, Py_ssize_t wanted)
    cpdef object flow(self)
    cdef object _count_spare(self, Py_ssize_t nbytes)
    cdef object _reason(self)

    @cython.locals(replies=list, reply=Reply)
    cdef object _dispatch(self)
    cdef object _refuse_file(self, Reply reply)
    cdef object _end_file(self, Reply reply, int sequence)
    cdef bint _is_early(self) except -1

    @cython.locals(reply=Reply)
    cdef bint _is_cut_short(self) except -1
    cdef object _farewell(self)
    cdef object _end_idle(self)

    @cython.locals(reply=Reply)
    cpdef object fail(self, object error, object cause=*)

from .prepared cimport Statements
from .reply cimport Reply


cdef int _CODE


cdef class SessionState:
    cdef public bint reads_only
    cdef public object status
    cdef public object encoding
    cdef public object results_encoding
    cdef object _own_mode
    cdef public bint assumes_no_escapes
    cdef public tuple syntax
    cdef public bint unsure
    cdef public int untold
    cdef public object watched
    cdef public int joined
    cdef public object ended
    cdef public object doubt
    cdef public bytes doubted
    cdef bytes _state
    cdef bint _tracks
    cdef public bint shows
    cdef public bint wrote
    cdef public dict changes
    cdef public object last_gtid
    cdef public Statements statements
    cdef public object unfit
    cdef public object on_unfit

    cdef object _learn(self, Reply reply)
    cdef object _learn_status(self, object status, Reply reply)
    cdef object _end(self, Reply reply)
    cdef bint _learn_states(self, tuple states) except -1
    cdef object _learn_refusal(self, object refused, bytes packet)
    cdef object _learn_syntax(self)
    cdef object _mode(self)
    cdef object _follow(self, dict changes)

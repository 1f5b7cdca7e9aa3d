from .sending cimport Sending
from .wire.dialogue cimport Dialogue

cdef object _groups(Dialogue raw, object multiparams, object params)


cdef class Executing(Sending):
    cdef object _take_returned(self, object raw, object plan, object returned, object result)

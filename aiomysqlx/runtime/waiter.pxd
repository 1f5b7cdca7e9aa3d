cdef class Waiter:
    cdef public bint _asyncio_future_blocking
    cdef bint _awaited
    cdef int _state
    cdef object _loop
    cdef object _result
    cdef object _error
    cdef tuple _message
    cdef object _task_wakeup
    cdef object _task_context
    cdef list _callbacks

    cpdef bint done(self)
    cpdef object result(self)
    cdef object _failure(self)
    cpdef object settle(self, object result, object error=*)
    cpdef object announce(self)
    cpdef object wake(self)
    cpdef object let_go(self)

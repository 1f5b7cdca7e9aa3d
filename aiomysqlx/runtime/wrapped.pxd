cdef class Wrapped:
    cdef public object _coroutine
    cdef public object _value

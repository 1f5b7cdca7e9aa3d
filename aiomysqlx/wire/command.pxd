cdef class Command:
    cdef public bytes packet
    cdef public object describe
    cdef public object known
    cdef public object shape
    cdef public object observed
    cdef public bint partial
    cdef public bint always
    cdef public object ends
    cdef public object effect
    cdef public object fate
    cdef public object most_rows
    cdef public Py_ssize_t stream


cdef class Limit:
    cdef tuple _limited
    cdef object _token

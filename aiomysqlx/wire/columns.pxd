cdef class Columns:
    cdef public bytes head
    cdef public str encoding
    cdef public list definitions
    cdef public tuple description
    cdef public object decoder  # of either twin, in tests
    cdef public object metadata
    cdef public bint runs_user_code

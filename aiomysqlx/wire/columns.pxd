from . cimport _packet_cy


cdef class Columns:
    cdef public bytes head
    cdef public str encoding
    cdef public list definitions
    cdef public tuple description
    cdef public _packet_cy.Decoder decoder
    cdef public object metadata
    cdef public bint runs_user_code

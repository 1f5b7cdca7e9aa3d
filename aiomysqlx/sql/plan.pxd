cimport cython


cdef class Text:
    cdef public object binary_columns
    cdef public object columns
    cdef public tuple fragments
    cdef public tuple head
    cdef public tuple group
    cdef public tuple tail


cdef class Plan:
    cdef public dict _columns
    cdef public list processors
    cdef public object _take
    cdef public object _take_extracted
    cdef public object _taken
    cdef public dict _texts
    cdef public object compiled
    cdef public object converters
    cdef public tuple fragments
    cdef public bint is_decided
    cdef public tuple kinds
    cdef public object keys
    cdef public object names
    cdef public object prefetch
    cdef public bint returning
    cdef public object rows
    cdef public object slots
    cdef public object sql
    cdef public object statement
    cdef public object translated
    cdef public object types

    cpdef list values(self, object parameters, object extracted, tuple syntax)
    cdef list _taken_extracted(self, object extracted)
    cpdef object check_lists(self, object values, object mode)
    cpdef bytes render(self, Text text, object parameters, object extracted, tuple syntax)
    cpdef Text text(self, object encoding)

# What is asked most often, without a look-up of a built-in function and a call of it.
cdef extern from "Python.h":
    """
    #define _held(part) PyObject_GenericGetDict(part, NULL)
    """
    dict vars "_held"(object)
    object id "PyLong_FromVoidPtr"(object)

cdef dict _orders
cdef object _DEFAULT_LABELS
cdef dict _marks
cdef dict _taken
cdef frozenset _LISTS
cdef frozenset _REFERENCES
cdef frozenset _FUNCTIONS
cdef frozenset _OPERATORS
cdef frozenset _CONSTANTS

cdef bint _statement(dict held, object order, list key, list binds, dict seen) except -1
cdef bint _joins(object joins, list key, list binds, dict seen) except -1
cdef bint _values(object values, list key, list binds, dict seen) except -1
cdef bint _elements(object parts, list key, list binds, dict seen) except -1
cdef bint _element(object part, list key, list binds, dict seen) except -1
cdef bint _binary(dict held, list key, list binds, dict seen) except -1
cdef bint _bind(object part, dict held, list key, list binds, dict seen) except -1
cdef bint _rare(object cls, object part, list key, list binds, dict seen) except -1
cdef bint _column(object cls, object part, list key, list binds, dict seen) except -1
cdef bint _function(object part, list key, list binds, dict seen) except -1
cdef bint _alias(object part, list key, dict seen) except -1
cdef bint _is_taken(object cls) except -1
cdef bint _name(object name, list key) except -1
cdef bint _operator(object operator, list key) except -1
cdef object _mark(object type_)

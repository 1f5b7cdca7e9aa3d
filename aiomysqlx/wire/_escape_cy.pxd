"""What the compiled modules beside this one write with."""

from cpython.object cimport PyObject, PyObject_TypeCheck, PyTypeObject
from libc.string cimport memcpy

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030C0000
    #define string_ready(string) (0)
    #else
    #define string_ready(string) PyUnicode_READY(string)
    #endif
    """
    int string_ready(object string) except -1
    bint PyUnicode_IS_ASCII(object string)
    bint PyAnySet_Check(object value)
    # Without an exception to raise it clips what does not fit.
    Py_ssize_t PyNumber_AsSsize_t(object number, void* error) except? -1

cdef enum:
    STACK_BYTES = 1024

cdef struct Writer:
    char* data
    Py_ssize_t size
    Py_ssize_t capacity
    bint on_heap
    bint utf8
    int mode
    # The encoders of the mode, borrowed from it, or NULL.
    PyObject* encoders

cdef int _open(Writer* out, char* stack, object encoding, object mode) except -1
cdef void _close(Writer* out) noexcept
cdef int _grow(Writer* out, Py_ssize_t extra) except -1


cdef inline int _reserve(Writer* out, Py_ssize_t extra) except -1:
    if extra > out.capacity - out.size:
        return _grow(out, extra)
    return 0


cdef inline int _put_chars(Writer* out, const char* chars, Py_ssize_t size) except -1:
    _reserve(out, size)
    memcpy(out.data + out.size, chars, size)
    out.size += size
    return 0


cdef inline bint _is_a(object value, object cls) noexcept:
    return PyObject_TypeCheck(value, <PyTypeObject*>cls)


cdef int _put_bytes(Writer* out, object value) except -1
cdef int _put_decimal(Writer* out, object value) except -1
cdef int _put_datetime(Writer* out, object value) except -1
cdef int _put_date(Writer* out, object value) except -1
cdef int _put_time(Writer* out, object value) except -1
cdef int _put_timedelta(Writer* out, object value) except -1
cdef int _put_uuid(Writer* out, object value) except -1
cdef bytes _packets(const char* payload, Py_ssize_t size, unsigned int sequence)
cdef object _python()

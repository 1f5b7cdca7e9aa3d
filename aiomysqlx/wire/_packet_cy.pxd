"""What the compiled modules beside this one call without a Python call in between."""

cimport cython

ctypedef const unsigned char *Bytes


@cython.final
cdef class Decoder:
    cdef tuple _names
    cdef bytes _conversions  # and for binary rows behind them the kinds and the decimals
    cdef tuple _processors
    cdef str _encoding
    cdef unsigned char _ascii
    cdef unsigned char _utf8
    cdef unsigned char _binary

    cdef tuple _decode(self, Bytes data, Py_ssize_t size)
    cdef tuple _decode_binary(self, Bytes data, Py_ssize_t size, Py_ssize_t *left)
    cdef object _text(self, Bytes data, Py_ssize_t size)


cdef class Reader:
    cdef public int sequence
    cdef object _buffer  # a view of a bytearray, which cannot be resized while it exists
    cdef unsigned char *_data
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef bint _lent  # a view of the free space is out, and may be being filled
    cdef list _pieces  # taken out of the buffer, waiting for what completes them
    cdef Py_ssize_t _held  # bytes in the pieces
    cdef Py_ssize_t _seen  # definitions among the pieces
    cdef Py_ssize_t _limit

    cpdef object get_buffer(self, sizehint)
    cpdef object buffer_updated(self, nbytes)
    cpdef bint skip(self, bytes packets, int count) except -1
    cpdef tuple oks(self, int status, bytes behind)
    cpdef bytes packet(self)
    cpdef bytes definitions(self, count)
    cpdef bytes rows(self, Decoder decoder, out, bint deprecate_eof, Py_ssize_t most=*)

    cdef bytes _take(self)
    cdef Py_ssize_t _ok_end(self, int status, Bytes behind, Py_ssize_t size) noexcept
    cdef Py_ssize_t _arrived(self) except -2
    cdef bytes _consume(self, Py_ssize_t skip, Py_ssize_t length)
    cdef int _advance(self, Py_ssize_t size) except -1
    cdef bytes _join(self)
    cdef Py_ssize_t _missing(self) noexcept
    cdef int _make_room(self) except -1
    cdef int _rewind(self) except -1
    cdef int _reset(self) except -1
    cdef int _replace(self, Py_ssize_t capacity) except -1


cpdef tuple parse_ok(bytes payload)
cpdef tuple parse_eof(bytes payload)

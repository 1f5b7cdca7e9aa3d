# cython: language_level=3, binding=True, auto_pickle=False, autotestdict=False
"""Values to the parameters of prepared statements, and those to packets.

The compiled twin of `_binary_py`, which is the specification. Parameters are written with the parts
of `_escape_cy`: what stands between the quotes of a literal there has its length in front here.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_CheckExact,
    PyBytes_GET_SIZE,
)
from cpython.datetime cimport (
    PyDate_Check,
    PyDate_CheckExact,
    PyDateTime_Check,
    PyDateTime_CheckExact,
    PyDelta_Check,
    PyTime_Check,
    import_datetime,
)
from cpython.dict cimport PyDict_Contains
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.list cimport PyList_Check
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_Check, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.memoryview cimport PyMemoryView_Check
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_Check
from cpython.unicode cimport (
    PyUnicode_1BYTE_DATA,
    PyUnicode_AsUTF8String,
    PyUnicode_Check,
    PyUnicode_CheckExact,
    PyUnicode_GET_LENGTH,
)
from libc.math cimport isfinite
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy, memset

from ._escape_cy cimport (
    STACK_BYTES,
    PyAnySet_Check,
    PyNumber_AsSsize_t,
    PyUnicode_IS_ASCII,
    Writer,
    _close,
    _is_a,
    _open,
    _packets,
    _put_chars,
    _put_date,
    _put_datetime,
    _put_decimal,
    _put_time,
    _put_timedelta,
    _put_uuid,
    _reserve,
    string_ready,
)
from ._escape_cy cimport _python as _literals

from decimal import Decimal
from enum import Enum
from time import struct_time
from uuid import UUID

from .codes import MAX_DEPTH, Verbatim
from .encoders import UnsendableError, encoded, misencoded
from ..exc import ArgumentError

cdef enum:
    # The types of parameters; without a sign in the second byte.
    DOUBLE = 0x05
    NULL_TYPE = 0x06
    LONGLONG = 0x08
    UNSIGNED_LONGLONG = 0x8008
    NEWDECIMAL = 0xF6
    BLOB = 0xFC
    VAR_STRING = 0xFD
    # A length below this is one byte.
    NULL_LENGTH = 0xFB
    # More characters than these are no integer that has a type of its own; as many digits are one.
    MOST_DIGITS = 20
    SURE_DIGITS = 18
    MOST_LENGTH_BYTES = 9
    HEAD = 7  # of a bulk's packet, before the types

ctypedef int (*Put)(Writer*, object) except -1

cdef object _decimal_type = Decimal
cdef object _enum_type = Enum
cdef object _struct_time_type = struct_time
cdef object _uuid_type = UUID
cdef object _verbatim_type = Verbatim
cdef int _max_depth = MAX_DEPTH
# Nothing is in it: a look-up tells whether a type can be hashed, in the words of a dict.
cdef object _no_types = {}
cdef object _twin = None


cdef object _python():
    """Return the Python twin, for what is rare."""
    global _twin
    if _twin is None:
        from . import _binary_py as _twin
    return _twin


cdef int _put_number(Writer* out, uint64_t number, int size) except -1:
    """Write the lowest bytes of a number, the lowest one first."""
    cdef int byte
    _reserve(out, 8)
    for byte in range(8):
        out.data[out.size + byte] = <char>(number >> 8 * byte & 0xFF)
    out.size += size
    return 0


cdef int _put_length(Writer* out, uint64_t size) except -1:
    _reserve(out, MOST_LENGTH_BYTES)
    if size < NULL_LENGTH:
        return _put_number(out, size, 1)
    if size < 1 << 16:
        _put_number(out, 0xFC, 1)
        return _put_number(out, size, 2)
    if size < 1 << 24:
        _put_number(out, 0xFD, 1)
        return _put_number(out, size, 3)
    _put_number(out, 0xFE, 1)
    return _put_number(out, size, 8)


cdef int _put_sized(Writer* out, const char* data, Py_ssize_t size) except -1:
    _put_length(out, size)
    return _put_chars(out, data, size)


cdef int _put_unquoted(Writer* out, Put put, object value) except -1:
    """Write a short text that *put* writes between quotes: its length takes the first one's place.
    """
    cdef Py_ssize_t start = out.size
    put(out, value)
    out.size -= 1
    out.data[start] = <char>(out.size - start - 1)
    return VAR_STRING


cdef int _put_fixed(Writer* out, object value) except -1:
    cdef Py_ssize_t start = out.size
    cdef Py_ssize_t size
    _put_number(out, 0, 1)
    _put_decimal(out, value)
    size = out.size - start - 1
    if size >= NULL_LENGTH:
        out.size = start
        return _put_written(out, _python()._fixed(value))
    out.data[start] = <char>size
    return NEWDECIMAL


cdef int _put_integer(Writer* out, object value) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return _put_written(out, _python()._integer(int.__int__(value)))
    _put_number(out, <uint64_t>number, 8)
    return LONGLONG


cdef int _put_double(Writer* out, object value) except -1:
    cdef double number = PyFloat_AS_DOUBLE(value)
    cdef uint64_t bits
    if not isfinite(number):
        return _put_written(out, _python()._double(float.__float__(value)))
    memcpy(&bits, &number, 8)
    _put_number(out, bits, 8)
    return DOUBLE


cdef int _as_literal(Writer* out, Py_ssize_t start) except -1:
    """Have the DECIMAL that begins at *start* be an integer if it has no point; give its type."""
    cdef const unsigned char* digits = <const unsigned char*>out.data + start + 1
    cdef Py_ssize_t size = digits[-1]
    cdef Py_ssize_t sign, place
    cdef uint64_t number = 0
    if size > MOST_DIGITS or memchr(digits, c".", size) != NULL:
        return NEWDECIMAL
    if size > SURE_DIGITS:
        written = _python()._integer(int(out.data[start + 1 : start + 1 + size]))
        out.size = start
        return _put_written(out, written)
    sign = digits[0] == c"-"
    for place in range(sign, size):
        number = 10 * number + (digits[place] - c"0")
    out.size = start
    _put_number(out, 0 - number if sign else number, 8)
    return LONGLONG


cdef int _put_written(Writer* out, bytes parameter) except -1:
    """Write what the Python twin has written."""
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(parameter)
    _put_chars(out, <const char*>data + 2, PyBytes_GET_SIZE(parameter) - 2)
    return data[0] | data[1] << 8


cdef int _put_text(Writer* out, object value, object encoding) except -1:
    cdef bytes data
    string_ready(value)
    if PyUnicode_IS_ASCII(value):
        _put_sized(out, <const char*>PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value))
        return VAR_STRING
    if out.utf8:
        try:
            data = PyUnicode_AsUTF8String(value)
        except UnicodeEncodeError:
            pass  # the Python twin says why
        else:
            _put_sized(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            return VAR_STRING
    write = _python()._parameters(encoding, out.mode)[str]
    return _put_written(out, write(str.__str__(value)))


cdef int _put_by_base(Writer* out, object value, object encoding, int depth) except -1:
    # The Python twin looks the type up in a dict: one that cannot be hashed is refused.
    PyDict_Contains(_no_types, type(value))
    if _is_a(value, _enum_type):
        if depth >= _max_depth:
            raise _literals()._too_deep()
        return _put_any(out, value.value, encoding, depth + 1)
    if PyLong_Check(value):
        return _put_integer(out, value)
    if PyFloat_Check(value):
        return _put_double(out, value)
    if _is_a(value, _decimal_type):
        return _put_fixed(out, value)
    if PyUnicode_Check(value):
        return _put_text(out, value, encoding)
    if _is_a(value, _verbatim_type):
        raise UnsendableError(type(value))
    if PyBytes_Check(value):
        _put_sized(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return BLOB
    if _is_a(value, bytearray):
        _put_sized(out, PyByteArray_AS_STRING(value), PyByteArray_GET_SIZE(value))
        return BLOB
    if PyMemoryView_Check(value):
        return _put_any(out, value.tobytes(), encoding, depth)
    if PyDateTime_Check(value):
        return _put_unquoted(out, _put_datetime, value)
    if PyDate_Check(value):
        return _put_unquoted(out, _put_date, value)
    if PyTime_Check(value):
        return _put_unquoted(out, _put_time, value)
    if PyDelta_Check(value):
        return _put_unquoted(out, _put_timedelta, value)
    if _is_a(value, _uuid_type):
        return _put_unquoted(out, _put_uuid, value)
    if type(value) is _struct_time_type:  # a tuple
        return _put_written(out, _python()._parameters(encoding, out.mode)[struct_time](value))
    if PyTuple_Check(value) or PyList_Check(value) or PyAnySet_Check(value):
        raise UnsendableError(type(value))
    return _put_any(out, _literals().built_in(value), encoding, depth)


cdef int _put_encoded(Writer* out, object value, object encoding, int depth) except -1:
    """Write what an encoder makes of *value*, if it has one; give 0 if it has none."""
    cdef PyObject* encoders = out.encoders
    cdef int kind
    function = (<object>encoders).find(type(value))
    if function is None:
        return 0
    result = encoded(function, value)
    out.encoders = NULL  # which are not asked again
    try:
        kind = _put(out, result, encoding, depth)
    except ArgumentError as error:
        refused = misencoded(value, error)
    else:
        return kind
    finally:
        out.encoders = encoders
    raise refused


cdef int _put(Writer* out, object value, object encoding, int depth) except -1:
    """Write a value as a parameter, and give its type."""
    if PyLong_CheckExact(value):
        return _put_integer(out, value)
    if PyUnicode_CheckExact(value):
        return _put_text(out, value, encoding)
    if value is None:
        return NULL_TYPE
    if PyFloat_CheckExact(value):
        return _put_double(out, value)
    if PyDateTime_CheckExact(value):
        return _put_unquoted(out, _put_datetime, value)
    if type(value) is _decimal_type:
        return _put_fixed(out, value)
    if PyBytes_CheckExact(value):
        _put_sized(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return BLOB
    if PyDate_CheckExact(value):
        return _put_unquoted(out, _put_date, value)
    return _put_by_base(out, value, encoding, depth)


cdef int _put_any(Writer* out, object value, object encoding, int depth) except -1:
    """Write a value that may have an encoder."""
    cdef int kind
    if out.encoders != NULL:
        kind = _put_encoded(out, value, encoding, depth)
        if kind:
            return kind
    return _put(out, value, encoding, depth)


def execute(statement_id, values, encoding, mode):
    """Return the COM_STMT_EXECUTE packet of a statement, whose parameters are *values*."""
    cdef char[STACK_BYTES] stack
    cdef Writer out
    cdef tuple parameters = tuple(values)
    cdef Py_ssize_t count = len(parameters)
    cdef Py_ssize_t column, nulls, types, start
    cdef int kind
    _open(&out, stack, encoding, mode)
    try:
        _put_number(&out, 0x17, 1)
        _put_number(&out, statement_id & 0xFFFFFFFF, 4)
        _put_number(&out, 1 << 8, 5)  # no cursor, and once
        if count:
            nulls = out.size
            types = nulls + (count + 7 >> 3) + 1
            _reserve(&out, types + 2 * count - out.size)
            memset(out.data + nulls, 0, types - nulls)
            out.data[types - 1] = 1  # the types follow
            out.size = types + 2 * count
            for column in range(count):
                start = out.size
                kind = _put_any(&out, parameters[column], encoding, 0)
                if kind == NEWDECIMAL:
                    kind = _as_literal(&out, start)
                out.data[types + 2 * column] = <char>(kind & 0xFF)
                out.data[types + 2 * column + 1] = <char>(kind >> 8)
                if kind == NULL_TYPE:
                    out.data[nulls + (column >> 3)] |= <char>(1 << (column & 7))
        return _packets(out.data, out.size, 0)
    finally:
        _close(&out)


def bulk(statement_id, rows, encoding, mode, start, limit):
    """Return MariaDB's COM_STMT_BULK_EXECUTE packet of rows[start:stop], and *stop*."""
    cdef char[STACK_BYTES] stack
    cdef Writer out
    cdef tuple values
    cdef Py_ssize_t total, first, stop, before, most, count, column
    cdef int* kinds = NULL  # of the packet's parameters, and of those of the row at hand
    cdef int* row = NULL
    cdef int kind
    cdef bint fits
    _open(&out, stack, encoding, mode)
    try:
        total = len(rows)
        if not 0 <= start < total:
            raise ArgumentError(f"expected a start within {total} rows, got {start}")
        first = stop = start
        most = PyNumber_AsSsize_t(limit, NULL)
        values = tuple(rows[stop])
        count = len(values)
        kinds = <int*>PyMem_Calloc(2 * count + 1, sizeof(int))
        if kinds == NULL:
            raise MemoryError
        row = kinds + count
        _put_number(&out, 0xFA, 1)
        _put_number(&out, statement_id & 0xFFFFFFFF, 4)
        _put_number(&out, 0x80, 2)  # the types follow
        _reserve(&out, 2 * count)
        out.size += 2 * count
        while stop < total:
            before = out.size
            if stop > first:
                values = tuple(rows[stop])
                if len(values) != count:
                    raise ArgumentError(f"expected {count} parameters, got {len(values)}")
            fits = True
            for column in range(count):
                # In front of each value is whether it is NULL.
                _put_number(&out, 0, 1)
                kind = _put_any(&out, values[column], encoding, 0)
                if kind == NULL_TYPE:
                    out.data[out.size - 1] = 1
                    kind = kinds[column]
                elif kinds[column] and kinds[column] != kind:
                    fits = False
                row[column] = kind
            if stop > first and (not fits or out.size > most):
                out.size = before
                break
            memcpy(kinds, row, count * sizeof(int))
            stop += 1
        for column in range(count):
            kind = kinds[column] or NULL_TYPE
            out.data[HEAD + 2 * column] = <char>(kind & 0xFF)
            out.data[HEAD + 2 * column + 1] = <char>(kind >> 8)
        return _packets(out.data, out.size, 0), stop
    finally:
        PyMem_Free(kinds)
        _close(&out)


import_datetime()

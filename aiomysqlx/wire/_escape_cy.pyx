# cython: language_level=3, binding=True, auto_pickle=False, autotestdict=False
"""Statements to bytes: Python values as SQL literals, SQL text as command packets.

The compiled twin of `_escape_py`, which is the specification. A statement is written into one
growing buffer that starts on the C stack. Whatever is rare (a charset other than UTF-8, a huge
int, every refusal) is left to the functions of the Python twin.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.conversion cimport Py_DTSF_ADD_DOT_0, PyOS_double_to_string
from cpython.datetime cimport (
    PyDate_Check,
    PyDate_CheckExact,
    PyDateTime_Check,
    PyDateTime_CheckExact,
    PyDelta_Check,
    PyTime_Check,
    date_day,
    date_month,
    date_year,
    datetime_hour,
    datetime_microsecond,
    datetime_minute,
    datetime_second,
    datetime_tzinfo,
    import_datetime,
    time_hour,
    time_microsecond,
    time_minute,
    time_second,
    time_tzinfo,
    timedelta_days,
    timedelta_microseconds,
    timedelta_seconds,
)
from cpython.dict cimport PyDict_CheckExact, PyDict_Contains, PyDict_GetItemWithError, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check, PyFloat_CheckExact
from cpython.list cimport PyList_AsTuple, PyList_Check, PyList_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_Check, PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_Check
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.set cimport PySet_Contains
from cpython.tuple cimport (
    PyTuple_Check,
    PyTuple_CheckExact,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyTuple_New,
    PyTuple_SET_ITEM,
)
from cpython.unicode cimport (
    PyUnicode_1BYTE_DATA,
    PyUnicode_Check,
    PyUnicode_CheckExact,
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
)
from libc.math cimport fabs, isfinite, llrint
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strchr, strlen

cdef extern from *:
    bint PyFrozenSet_Check(object value)
    Py_ssize_t PY_SSIZE_T_MAX

from datetime import timezone
from decimal import Decimal
from enum import Enum
from time import struct_time
from uuid import UUID

from .charset import is_utf8, keeps_quotes
from .codes import EMPTY_SET, ESCAPES, MAX_DECIMAL_DIGITS, MAX_DEPTH, InList, Verbatim
from .encoders import encoded, misencoded
from ..exc import ArgumentError

cdef enum:
    # Of a number of 64 bits.
    MOST_DIGITS = 20
    # How much text is reserved for at a time: its worst case is far from the usual one.
    TEXT_STEP = 4096
    MAX_PAYLOAD = 0xFFFFFF
    # Of codes: constants that the compiler knows.
    NO_BACKSLASH_ESCAPES = 1
    HEX_BYTES = 2

cdef object _decimal_type = Decimal
cdef object _enum_type = Enum
cdef object _in_list_type = InList
cdef object _struct_time_type = struct_time
cdef object _utc = timezone.utc
cdef object _uuid_type = UUID
cdef object _verbatim_type = Verbatim

cdef object _is_utf8 = is_utf8
cdef object _keeps_quotes = keeps_quotes
cdef object _uuid_number = UUID.__dict__["int"].__get__
cdef bytes _COMMA = b","
cdef bytes _empty_set = EMPTY_SET
cdef int _max_depth = MAX_DEPTH
cdef int _max_decimal_digits = MAX_DECIMAL_DIGITS

cdef const char* UPPER_HEX = b"0123456789ABCDEF"
cdef const char* LOWER_HEX = b"0123456789abcdef"

# For an ASCII character that is escaped, what follows the backslash or the first quote; else 0.
cdef unsigned char[128] _after_backslash
cdef unsigned char[128] _after_quote

# Nothing is in them: a look-up tells whether a type can be hashed, in the words of a dict or a set.
cdef object _no_types = {}
cdef object _no_kinds = set()
cdef object _twin = None


cdef object _python():
    """Return the Python twin, for what is rare: its import takes 0.5 ms."""
    global _twin
    if _twin is None:
        from . import _escape_py as _twin
    return _twin


cdef int _open(Writer* out, char* stack, object encoding, object mode) except -1:
    out.data = stack
    out.size = 0
    out.capacity = STACK_BYTES
    out.on_heap = False
    out.mode = mode
    out.encoders = NULL
    if not PyLong_CheckExact(mode):
        encoders = getattr(mode, "encoders", None)
        if encoders is not None:
            out.encoders = <PyObject*>encoders
    out.utf8 = (
        PyUnicode_CheckExact(encoding) and (encoding == "utf8" or encoding == "utf-8")
    ) or _is_utf8(encoding)
    return 0


cdef void _close(Writer* out) noexcept:
    if out.on_heap:
        PyMem_Free(out.data)


cdef int _grow(Writer* out, Py_ssize_t extra) except -1:
    cdef Py_ssize_t capacity
    cdef char* data
    if extra > PY_SSIZE_T_MAX - out.size:
        raise MemoryError
    capacity = out.size + extra
    if out.capacity <= PY_SSIZE_T_MAX // 2 and capacity < 2 * out.capacity:
        capacity = 2 * out.capacity
    if out.on_heap:
        data = <char*>PyMem_Realloc(out.data, capacity)
    else:
        data = <char*>PyMem_Malloc(capacity)
    if data == NULL:
        raise MemoryError
    if not out.on_heap:
        memcpy(data, out.data, out.size)
    out.data = data
    out.capacity = capacity
    out.on_heap = True
    return 0


cdef int _put_bytes(Writer* out, object value) except -1:
    return _put_chars(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


cdef inline int _put_digits(Writer* out, unsigned long long number, int width) except -1:
    """Write *number* in *width* digits, or in as many as it has, at most 20."""
    cdef char[2 * MOST_DIGITS] digits
    cdef int at = MOST_DIGITS
    while number or at == MOST_DIGITS:
        at -= 1
        digits[at] = c"0" + <char>(number % 10)
        number //= 10
    while MOST_DIGITS - at < width:
        at -= 1
        digits[at] = c"0"
    _reserve(out, MOST_DIGITS)
    # Of a size known to the compiler, which costs less than a call: what is behind is not written.
    memcpy(out.data + out.size, digits + at, MOST_DIGITS)
    out.size += MOST_DIGITS - at
    return 0


cdef inline void _two(char* target, unsigned int number) noexcept:
    """Write a number below 100 in two digits."""
    target[0] = c"0" + <char>(number // 10)
    target[1] = c"0" + <char>(number % 10)


cdef int _put_int(Writer* out, object value) except -1:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return _put_bytes(out, _python()._int(int.__int__(value)))
    if number < 0:
        _put_chars(out, b"-", 1)
        return _put_digits(out, 0 - <unsigned long long>number, 1)
    return _put_digits(out, number, 1)


cdef inline long long _millionths(double number) noexcept:
    """Return *number* in millionths if it has no more than six decimals and fifteen digits, else 0.

    Two decimals of at most fifteen digits are never the same float, so this one, read back as
    *number*, is what repr() writes; repr() has exponents below 1e-4.
    """
    cdef long long millionths
    if not 1e-4 <= fabs(number) < 1e9:
        return 0
    millionths = llrint(number * 1e6)
    return millionths if <double>millionths / 1e6 == number else 0


cdef int _put_millionths(Writer* out, long long millionths) except -1:
    cdef int width = 6
    cdef int decimals
    if millionths < 0:
        _put_chars(out, b"-", 1)
        millionths = -millionths
    decimals = millionths % 1_000_000
    _put_digits(out, millionths // 1_000_000, 1)
    while width > 1 and decimals % 10 == 0:
        decimals //= 10
        width -= 1
    _put_chars(out, b".", 1)
    _put_digits(out, decimals, width)
    return _put_chars(out, b"e0", 2)


cdef int _put_float(Writer* out, object value) except -1:
    cdef double number = PyFloat_AS_DOUBLE(value)
    cdef long long millionths = _millionths(number)
    cdef char* text
    if millionths:
        return _put_millionths(out, millionths)
    if not isfinite(number):
        return _put_bytes(out, _python()._float(float.__float__(value)))
    text = PyOS_double_to_string(number, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
    if text == NULL:
        raise MemoryError
    try:
        _put_chars(out, text, strlen(text))
        if strchr(text, c"e") == NULL:
            _put_chars(out, b"e0", 2)
    finally:
        PyMem_Free(text)
    return 0


cdef bint _is_plain_number(object text) noexcept:
    cdef const unsigned char* chars
    cdef Py_ssize_t index
    if not PyUnicode_IS_ASCII(text):
        return False
    chars = <const unsigned char*>PyUnicode_1BYTE_DATA(text)
    for index in range(PyUnicode_GET_LENGTH(text)):
        if not (c"0" <= chars[index] <= c"9" or chars[index] == c"." or chars[index] == c"-"):
            return False
    return True


cdef int _put_decimal(Writer* out, object value) except -1:
    cdef str text
    if type(value) is _decimal_type:
        text = str(value)
        if PyUnicode_GET_LENGTH(text) <= _max_decimal_digits and _is_plain_number(text):
            return _put_chars(
                out, <const char*>PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text)
            )
    return _put_bytes(out, _python()._decimal(value))


cdef inline Py_ssize_t _encode_utf8(char* target, uint32_t character) noexcept:
    if character < 0x80:
        target[0] = <char>character
        return 1
    if character < 0x800:
        target[0] = <char>(0xC0 | character >> 6)
        target[1] = <char>(0x80 | character & 0x3F)
        return 2
    if character < 0x10000:
        target[0] = <char>(0xE0 | character >> 12)
        target[1] = <char>(0x80 | character >> 6 & 0x3F)
        target[2] = <char>(0x80 | character & 0x3F)
        return 3
    target[0] = <char>(0xF0 | character >> 18)
    target[1] = <char>(0x80 | character >> 12 & 0x3F)
    target[2] = <char>(0x80 | character >> 6 & 0x3F)
    target[3] = <char>(0x80 | character & 0x3F)
    return 4


cdef int _put_other_charset(Writer* out, object value, object encoding) except -1:
    write = _python()._literals(encoding, out.mode)[str]
    return _put_bytes(out, write(str.__str__(value)))


cdef inline uint64_t _among(unsigned char byte, uint64_t word) noexcept:
    """Return 0 if none of the eight bytes of *word* is *byte*."""
    cdef uint64_t each = 0x0101010101010101
    word ^= each * byte
    return (word - each) & ~word & (each << 7)


cdef inline uint64_t _special(uint64_t word) noexcept:
    """Return 0 if none of eight ASCII characters is escaped, in whichever mode."""
    cdef uint64_t each = 0x0101010101010101
    cdef uint64_t controls = (word - 0x20 * each) & (each << 7)
    return controls | _among(c"'", word) | _among(c'"', word) | _among(c"\\", word)


cdef int _put_ascii(Writer* out, object value) except -1:
    cdef const unsigned char* chars = <const unsigned char*>PyUnicode_1BYTE_DATA(value)
    cdef const unsigned char* after = _after_backslash
    cdef char escape = c"\\"
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(value)
    cdef Py_ssize_t index = 0
    cdef Py_ssize_t stop, end
    cdef uint64_t word
    cdef unsigned char character
    cdef char* target
    if out.mode & NO_BACKSLASH_ESCAPES:
        after = _after_quote
        escape = c"'"
    while index < length:
        stop = index + min(TEXT_STEP, length - index)
        # A character takes two bytes at most.
        _reserve(out, 2 * (stop - index))
        target = out.data + out.size
        while index < stop:
            end = index + min(8, stop - index)
            if end - index == 8:
                memcpy(&word, chars + index, 8)
                if not _special(word):
                    memcpy(target, &word, 8)
                    target += 8
                    index = end
                    continue
            while index < end:
                character = chars[index]
                index += 1
                if after[character]:
                    target[0] = escape
                    target += 1
                    character = after[character]
                target[0] = <char>character
                target += 1
        out.size = target - out.data
    return 0


cdef int _put_unicode(Writer* out, object value, object encoding) except -1:
    cdef int kind = PyUnicode_KIND(value)
    cdef void* data = PyUnicode_DATA(value)
    cdef const unsigned char* after = _after_backslash
    cdef char escape = c"\\"
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(value)
    cdef Py_ssize_t index = 0
    cdef Py_ssize_t stop
    cdef uint32_t character
    cdef char* target
    if out.mode & NO_BACKSLASH_ESCAPES:
        after = _after_quote
        escape = c"'"
    while index < length:
        stop = index + min(TEXT_STEP, length - index)
        # A character takes four bytes at most.
        _reserve(out, 4 * (stop - index))
        target = out.data + out.size
        while index < stop:
            character = PyUnicode_READ(kind, data, index)
            index += 1
            if character < 0x80 and after[character]:
                target[0] = escape
                target += 1
                character = after[character]
            elif 0xD800 <= character <= 0xDFFF:
                raise _python()._unencodable(str.__str__(value), encoding)
            target += _encode_utf8(target, character)
        out.size = target - out.data
    return 0


cdef int _put_text(Writer* out, object value, object encoding) except -1:
    string_ready(value)
    if not PyUnicode_IS_ASCII(value) and not out.utf8:
        return _put_other_charset(out, value, encoding)
    _put_chars(out, b"'", 1)
    if PyUnicode_IS_ASCII(value):
        _put_ascii(out, value)
    else:
        _put_unicode(out, value, encoding)
    return _put_chars(out, b"'", 1)


cdef int _put_raw(Writer* out, const unsigned char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t index = 0
    cdef Py_ssize_t stop
    cdef uint64_t word
    cdef unsigned char byte
    cdef char* target
    if size > PY_SSIZE_T_MAX // 2 - 9:
        raise MemoryError
    # At once, for the worst case: memory that is never written to takes none.
    _reserve(out, 2 * size + 9)
    _put_chars(out, b"_binary'", 8)
    target = out.data + out.size
    while index < size:
        stop = index + min(8, size - index)
        if stop - index == 8:
            memcpy(&word, data + index, 8)
            if not (_among(c"'", word) | _among(c"\\", word) | _among(c"\r", word)):
                memcpy(target, &word, 8)
                target += 8
                index = stop
                continue
        while index < stop:
            byte = data[index]
            index += 1
            if byte == c"'" or byte == c"\\" or byte == c"\r":
                target[0] = c"\\"
                target += 1
            target[0] = c"r" if byte == c"\r" else <char>byte
            target += 1
    out.size = target - out.data
    return _put_chars(out, b"'", 1)


cdef int _put_hex(Writer* out, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t index
    cdef unsigned char byte
    cdef char* target
    _put_chars(out, b"_binary X'", 10)
    if size > PY_SSIZE_T_MAX // 2:
        raise MemoryError
    _reserve(out, 2 * size)
    target = out.data + out.size
    for index in range(size):
        byte = <unsigned char>data[index]
        target[2 * index] = UPPER_HEX[byte >> 4]
        target[2 * index + 1] = UPPER_HEX[byte & 0xF]
    out.size += 2 * size
    return _put_chars(out, b"'", 1)


cdef inline int _put_binary(
    Writer* out, const char* data, Py_ssize_t size, object encoding
) except -1:
    if out.mode & (NO_BACKSLASH_ESCAPES | HEX_BYTES) or not (out.utf8 or _keeps_quotes(encoding)):
        return _put_hex(out, data, size)
    return _put_raw(out, <const unsigned char*>data, size)


cdef int _put_clock(
    Writer* out, unsigned long long hour, int minute, int second, int microsecond
) except -1:
    cdef char[6] text
    _put_digits(out, hour, 2)
    text[0] = text[3] = c":"
    _two(text + 1, minute)
    _two(text + 4, second)
    _put_chars(out, text, 6)
    if microsecond:
        _put_chars(out, b".", 1)
        _put_digits(out, microsecond, 6)
    return _put_chars(out, b"'", 1)


cdef inline int _put_calendar(Writer* out, object value) except -1:
    cdef unsigned int year = date_year(value)
    cdef char[11] text
    text[0] = c"'"
    _two(text + 1, year // 100)
    _two(text + 3, year % 100)
    text[5] = text[8] = c"-"
    _two(text + 6, date_month(value))
    _two(text + 9, date_day(value))
    return _put_chars(out, text, 11)


cdef int _put_datetime(Writer* out, object value) except -1:
    cdef object zone = datetime_tzinfo(value)
    if zone is not None and zone is not _utc:
        value = _python()._naive_datetime(value, out.mode)
    _put_calendar(out, value)
    _put_chars(out, b" ", 1)
    return _put_clock(
        out,
        datetime_hour(value),
        datetime_minute(value),
        datetime_second(value),
        datetime_microsecond(value),
    )


cdef int _put_date(Writer* out, object value) except -1:
    _put_calendar(out, value)
    return _put_chars(out, b"'", 1)


cdef int _put_time(Writer* out, object value) except -1:
    cdef object zone = time_tzinfo(value)
    if zone is not None and zone is not _utc:
        value = _python()._naive_time(value, out.mode)
    _put_chars(out, b"'", 1)
    return _put_clock(
        out, time_hour(value), time_minute(value), time_second(value), time_microsecond(value)
    )


cdef int _put_timedelta(Writer* out, object value) except -1:
    cdef long long seconds = timedelta_days(value) * <long long>86400 + timedelta_seconds(value)
    cdef int microsecond = timedelta_microseconds(value)
    _put_chars(out, b"'", 1)
    if seconds < 0:
        # A negative timedelta counts its seconds downwards and its microseconds upwards.
        _put_chars(out, b"-", 1)
        seconds = -seconds
        if microsecond:
            seconds -= 1
            microsecond = 1_000_000 - microsecond
    return _put_clock(out, seconds // 3600, seconds // 60 % 60, seconds % 60, microsecond)


cdef int _put_uuid(Writer* out, object value) except -1:
    cdef bytes number = int.to_bytes(_uuid_number(value), 16, "big")
    cdef const unsigned char* data = number
    cdef char[38] text
    cdef int index
    cdef int at = 1
    text[0] = text[37] = c"'"
    for index in range(16):
        if index in (4, 6, 8, 10):
            text[at] = c"-"
            at += 1
        text[at] = LOWER_HEX[data[index] >> 4]
        text[at + 1] = LOWER_HEX[data[index] & 0xF]
        at += 2
    return _put_chars(out, text, 38)


cdef int _put_values(Writer* out, object value, object encoding, int depth) except -1:
    # The values are read from a tuple: reading an enumeration member's value runs code that may
    # change the list.
    cdef tuple values
    cdef object item
    cdef bint following = False
    if depth >= _max_depth:
        raise _python()._too_deep()
    if PyTuple_Check(value):
        # The C size and items of a subclass, without its __iter__.
        values = <tuple>value
    elif PyList_Check(value):
        values = PyList_AsTuple(value)
    elif PyFrozenSet_Check(value):
        values = tuple(frozenset.__iter__(value))
    else:
        values = tuple(set.__iter__(value))
    if not values:
        return _put_bytes(out, _empty_set)
    for item in values:
        if following:
            _put_chars(out, b", ", 2)
        following = True
        _put_any(out, item, encoding, depth + 1)
    return 0


cdef int _put_row(Writer* out, object value, object encoding, int depth) except -1:
    _put_chars(out, b"(", 1)
    _put_values(out, value, encoding, depth)
    return _put_chars(out, b")", 1)


cdef int _put_by_base(Writer* out, object value, object encoding, int depth) except -1:
    # The Python twin looks the type up in a dict: one that cannot be hashed is refused.
    PyDict_Contains(_no_types, type(value))
    if _is_a(value, _enum_type):
        if depth >= _max_depth:
            raise _python()._too_deep()
        return _put_any(out, value.value, encoding, depth + 1)
    if PyLong_Check(value):
        return _put_int(out, value)
    if PyFloat_Check(value):
        return _put_float(out, value)
    if _is_a(value, _decimal_type):
        return _put_decimal(out, value)
    if PyUnicode_Check(value):
        return _put_text(out, value, encoding)
    if _is_a(value, _verbatim_type):
        return _put_bytes(out, value)
    if PyBytes_Check(value):
        return _put_binary(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), encoding)
    if _is_a(value, bytearray):
        return _put_binary(
            out, PyByteArray_AS_STRING(value), PyByteArray_GET_SIZE(value), encoding
        )
    if PyMemoryView_Check(value):
        return _put_any(out, value.tobytes(), encoding, depth)
    if PyDateTime_Check(value):
        return _put_datetime(out, value)
    if PyDate_Check(value):
        return _put_date(out, value)
    if PyTime_Check(value):
        return _put_time(out, value)
    if PyDelta_Check(value):
        return _put_timedelta(out, value)
    if _is_a(value, _uuid_type):
        return _put_uuid(out, value)
    if _is_a(value, _in_list_type):
        return _put_values(out, value, encoding, depth)
    if type(value) is _struct_time_type:  # a tuple
        return _put_bytes(out, _python()._struct_time(value))
    if PyTuple_Check(value) or PyList_Check(value) or PyAnySet_Check(value):
        return _put_row(out, value, encoding, depth)
    return _put_any(out, _python().built_in(value), encoding, depth)


cdef int _put_encoded(Writer* out, object value, object encoding, int depth) except -1:
    """Write what an encoder makes of *value*, if it has one; give 0 if it has none."""
    cdef PyObject* encoders = out.encoders
    function = (<object>encoders).find(type(value))
    if function is None:
        return 0
    result = encoded(function, value)
    out.encoders = NULL  # which are not asked again
    try:
        _put(out, result, encoding, depth)
    except ArgumentError as error:
        refused = misencoded(value, error)
    else:
        return 1
    finally:
        out.encoders = encoders
    raise refused


cdef int _put(Writer* out, object value, object encoding, int depth) except -1:
    if PyLong_CheckExact(value):
        return _put_int(out, value)
    if PyUnicode_CheckExact(value):
        return _put_text(out, value, encoding)
    if value is None:
        return _put_chars(out, b"NULL", 4)
    if value is True:
        return _put_chars(out, b"1", 1)
    if value is False:
        return _put_chars(out, b"0", 1)
    if PyFloat_CheckExact(value):
        return _put_float(out, value)
    if PyDateTime_CheckExact(value):
        return _put_datetime(out, value)
    if type(value) is _decimal_type:
        return _put_decimal(out, value)
    if PyBytes_CheckExact(value):
        return _put_binary(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), encoding)
    if PyDate_CheckExact(value):
        return _put_date(out, value)
    return _put_by_base(out, value, encoding, depth)


cdef int _put_any(Writer* out, object value, object encoding, int depth) except -1:
    """Write a value that may have an encoder."""
    if out.encoders != NULL and _put_encoded(out, value, encoding, depth):
        return 0
    return _put(out, value, encoding, depth)


cdef int _put_interleaved(
    Writer* out, tuple fragments, object sequence, object encoding
) except -1:
    cdef tuple values = tuple(sequence)
    cdef Py_ssize_t count = len(values)
    cdef Py_ssize_t index
    cdef bint encodes = out.encoders != NULL
    if len(fragments) != count + 1:
        raise ArgumentError(f"expected {len(fragments) - 1} parameters, got {count}")
    for index in range(count):
        _put_bytes(out, fragments[index])
        if encodes:
            _put_any(out, values[index], encoding, 0)
        else:
            _put(out, values[index], encoding, 0)
    return _put_bytes(out, fragments[count])


cdef inline bint _is_list(object value) except -1:
    """Tell whether *value* is a list, tuple or set, other than an `InList`."""
    if PyUnicode_CheckExact(value) or PyLong_CheckExact(value) or value is None:
        return False
    if PyFloat_CheckExact(value) or PyDateTime_CheckExact(value) or type(value) is _decimal_type:
        return False
    # The Python twin puts the type into a set, too.
    PySet_Contains(_no_kinds, type(value))
    if PyList_Check(value) or PyTuple_Check(value) or PyAnySet_Check(value):
        return type(value) is not _in_list_type
    return False


cdef inline tuple _whole(object group, tuple flags):
    """Return a tuple of as many values as *flags*; `None` for anything else."""
    if PyTuple_CheckExact(group) and PyTuple_GET_SIZE(group) == PyTuple_GET_SIZE(flags):
        return <tuple>group
    return None


cdef tuple _taken(object group, tuple keys, dict constants, Py_ssize_t size):
    """Return the values at *keys* of a dict; `None` for anything else."""
    cdef Py_ssize_t count = PyTuple_GET_SIZE(keys)
    cdef Py_ssize_t index
    cdef PyObject* found
    cdef tuple values
    if not PyDict_CheckExact(group) or (constants is not None and PyDict_Size(group) != size):
        return None
    values = PyTuple_New(count)
    for index in range(count):
        found = PyDict_GetItemWithError(group, <object>PyTuple_GET_ITEM(keys, index))
        if found == NULL and constants is not None:
            found = PyDict_GetItemWithError(constants, <object>PyTuple_GET_ITEM(keys, index))
        if found == NULL:
            return None
        Py_INCREF(<object>found)  # the tuple steals it
        PyTuple_SET_ITEM(values, index, <object>found)
    return values


cdef bint _are_bytes(object fragments) except -1:
    """Tell whether *fragments* are what every plan holds; anything else the Python twin judges."""
    cdef object fragment
    if not PyTuple_CheckExact(fragments) and not PyList_CheckExact(fragments):
        return False
    for fragment in fragments:
        if not PyBytes_CheckExact(fragment):
            return False
    return True


cdef bytes _packets(const char* payload, Py_ssize_t size, unsigned int sequence):
    cdef Py_ssize_t count = size // MAX_PAYLOAD + 1
    cdef bytes packets = PyBytes_FromStringAndSize(NULL, size + 4 * count)
    cdef char* target = PyBytes_AS_STRING(packets)
    cdef Py_ssize_t part
    while count:
        part = min(size, MAX_PAYLOAD)
        target[0] = <char>(part & 0xFF)
        target[1] = <char>(part >> 8 & 0xFF)
        target[2] = <char>(part >> 16)
        target[3] = <char>(sequence & 0xFF)
        memcpy(target + 4, payload, part)
        target += 4 + part
        payload += part
        size -= part
        sequence += 1
        count -= 1
    return packets


def escape(value, encoding, mode):
    """Return *value* as a SQL literal in *encoding*."""
    cdef char[STACK_BYTES] stack
    cdef Writer out
    _open(&out, stack, encoding, mode)
    try:
        _put_any(&out, value, encoding, 0)
        return PyBytes_FromStringAndSize(out.data, out.size)
    finally:
        _close(&out)


def frame(payload, sequence=0):
    """Return *payload* as wire packets."""
    if not PyBytes_CheckExact(payload):
        return _python().frame(payload, sequence)
    return _packets(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), sequence & 0xFF)


def render(fragments, values, encoding, mode):
    """Return the COM_QUERY packet of *fragments* with *values* written between them."""
    cdef char[STACK_BYTES] stack
    cdef Writer out
    if not _are_bytes(fragments):
        return _python().render(fragments, values, encoding, mode)
    _open(&out, stack, encoding, mode)
    try:
        _put_chars(&out, b"\x03", 1)
        _put_interleaved(&out, tuple(fragments), values, encoding)
        return _packets(out.data, out.size, 0)
    finally:
        _close(&out)


def render_rows(head, row, rows, tail, encoding, mode, start, limit, between=_COMMA):
    """Return the COM_QUERY packet of *head*, rows[start:stop] and *tail*, and *stop*."""
    cdef char[STACK_BYTES] stack
    cdef Writer out
    cdef Py_ssize_t count, first, stop, before, most
    cdef tuple fragments
    if not (_are_bytes(row) and _are_bytes((head, tail, between))):
        return _python().render_rows(
            head, row, rows, tail, encoding, mode, start, limit, between
        )
    _open(&out, stack, encoding, mode)
    try:
        count = len(rows)
        if not 0 <= start < count:
            raise ArgumentError(f"expected a start within {count} rows, got {start}")
        first = stop = start
        most = PyNumber_AsSsize_t(limit, NULL)
        fragments = tuple(row)
        _put_chars(&out, b"\x03", 1)
        _put_bytes(&out, head)
        while stop < count:
            before = out.size
            if stop > first:
                _put_bytes(&out, between)
            _put_interleaved(&out, fragments, rows[stop], encoding)
            if out.size + PyBytes_GET_SIZE(tail) > most and stop > first:
                out.size = before
                break
            stop += 1
        _put_bytes(&out, tail)
        return _packets(out.data, out.size, 0), stop
    finally:
        _close(&out)


def has_lists(values):
    """Tell whether there is a list, tuple or set among *values*, other than an `InList`."""
    cdef bint found = False
    for value in tuple(values):
        found = _is_list(value) or found
    return found


def take_values(groups, keys, checked, constants):
    """Return the values at *keys* of each of *groups*, up to the first that is not plain."""
    cdef tuple slots = None
    cdef tuple flags = tuple([bool(each) for each in checked])
    cdef tuple row
    cdef dict others = None
    cdef Py_ssize_t size = -1
    cdef Py_ssize_t index
    cdef bint found
    cdef list rows = []
    if keys is not None:
        slots = tuple(keys)
        if len(slots) != len(flags):
            raise ValueError(f"expected {len(slots)} keys to be checked or not, got {len(flags)}")
        if constants is not None:
            others = dict(constants)
            size = len(set(slots)) - len(others)
    for group in groups:
        row = _whole(group, flags) if slots is None else _taken(group, slots, others, size)
        if row is None:
            break
        found = False
        for index in range(len(flags)):
            if _is_list(row[index]) and flags[index]:
                found = True
        if found:
            break
        rows.append(row)
    return rows


import_datetime()
for _character, _letter in ESCAPES.items():
    _after_backslash[ord(_character)] = ord(_letter)
_after_quote[c"'"] = c"'"

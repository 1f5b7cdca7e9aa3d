# cython: language_level=3, binding=True, auto_pickle=False, autotestdict=False
"""Bytes to rows: framing of the bytes received, and decoding of text and binary rows.

The compiled twin of `_packet_py`, which is the specification.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.conversion cimport PyOS_double_to_string
from cpython.datetime cimport date_new, datetime_new, import_datetime, timedelta_new
from cpython.long cimport PyLong_FromLongLong, PyLong_FromUnsignedLongLong
from cpython.mem cimport PyMem_Free
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport isfinite
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, memmove

import codecs
import contextvars
import decimal
from decimal import Decimal

from .codes import WIDTHS, check_wire
from .packets import CAPACITY, IDLE_CAPACITY, MAX_PIECE, MalformedPacket, PacketTooLarge

cdef extern from "Python.h":
    char *PyByteArray_AS_STRING(object)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object)
    const Py_ssize_t PY_SSIZE_T_MAX
    # Without an exception to raise it clips what does not fit.
    Py_ssize_t PyNumber_AsSsize_t(object number, void* error) except? -1
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    bint PyObject_IS_GC(object)
    bint PyObject_GC_IsTracked(object)
    void PyObject_GC_Track(void *)
    void PyObject_GC_UnTrack(void *)
    double PyOS_string_to_double(const char *text, char **end, PyObject *overflow) except? -1.0

cdef enum:
    _SHORT = 256  # bytes of a text that is decoded here
    _MOST_DIGITS = 18  # of a decimal that is made of an integer
    # Of codes: constants that the compiler knows.
    _DATE = 6
    _BOOL = 8
    _SIZED = 0
    _INT8 = 1
    _UINT8 = 2
    _INT16 = 3
    _UINT16 = 4
    _INT32 = 5
    _UINT32 = 6
    _INT64 = 7
    _UINT64 = 8
    _FLOAT32 = 9
    _FLOAT64 = 10
    _CALENDAR = 11
    _KIND_BITS = 4
    _NO_DECIMALS = 31
    _FLOAT_DIGITS = 6

cdef struct Recent:
    int64_t mantissa
    int scale
    PyObject *value

cdef extern from *:
    """
    #include <float.h>
    #include <math.h>
    #include <stdint.h>

    static const uint64_t powers[] = {
        1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u,
        10000000000u, 100000000000u, 1000000000000u, 10000000000000u, 100000000000000u,
        1000000000000000u, 10000000000000000u, 100000000000000000u, 1000000000000000000u,
    };

    /* Give the double nearest to mantissa / 10**scale, scale being 18 at most, or -1 where the
       compiler lacks the means. 17 digits take a seventh of PyOS_string_to_double's time. */
    static double decimal_quotient(uint64_t mantissa, int scale)
    {
        const uint64_t power = powers[scale];
    #if FLT_EVAL_METHOD == 0
        if (mantissa <= (uint64_t)1 << 53)
            return (double)mantissa / (double)power;  /* both are exact */
    #ifdef __SIZEOF_INT128__
        const unsigned __int128 dividend = (unsigned __int128)mantissa << 64;
        unsigned __int128 quotient = dividend / power;  /* of 58 bits at least */
        int inexact = dividend % power != 0;
        int shift = 0;
        const uint64_t high = (uint64_t)(quotient >> 64);
        if (high) {
            shift = 64 - __builtin_clzll(high);
            inexact |= (quotient & (((unsigned __int128)1 << shift) - 1)) != 0;
            quotient >>= shift;
        }
        /* The last bit is below those that a double keeps: it tells what is more than a tie. */
        return ldexp((double)((uint64_t)quotient | inexact), shift - 64);
    #endif
    #endif
        return -1.0;
    }
    """
    double decimal_quotient(uint64_t mantissa, int scale) noexcept

ctypedef object (*Converter)(Bytes, Py_ssize_t)

cdef Py_ssize_t _CAPACITY = CAPACITY
cdef Py_ssize_t _IDLE_CAPACITY = IDLE_CAPACITY
cdef Py_ssize_t _MAX_PIECE = MAX_PIECE
# In these a byte below 0x80 is that ASCII character, wherever it stands.
cdef frozenset _ASCII_SUPERSETS = frozenset(("ascii", "utf-8", "iso8859-1", "cp1252"))
cdef object _Decimal = Decimal
cdef object _exact = contextvars.Context()  # in which no product of decimals is rounded
cdef tuple _units = None  # 1, 0.1, 0.01, … where decimals are C's: others may run anything
cdef Recent[256] _recent  # decimals, each at the place that its digits give
cdef uint64_t _HIGH_BITS = 0x8080808080808080
cdef uint64_t _SPREAD = 0x9E3779B97F4A7C15  # times which numbers differ in their highest bits
cdef Converter[10] _CONVERTERS  # in the order of the conversion codes
cdef uint8_t[16] _widths  # in the order of the wire codes

import_datetime()
if decimal.HAVE_CONTEXTVAR and not hasattr(Decimal.__mul__, "__code__"):
    _exact.run(
        decimal.setcontext,
        decimal.Context(
            prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[]
        ),
    )
    _units = tuple([Decimal((0, (1,), -scale)) for scale in range(_MOST_DIGITS + 1)])


cdef inline bint is_digit(unsigned char character) noexcept:
    return c"0" <= character <= c"9"


cdef inline int two_digits(Bytes text) noexcept:
    """Return the value of two digits, or a number below -999 if they are not."""
    if is_digit(text[0]) and is_digit(text[1]):
        return (text[0] - c"0") * 10 + text[1] - c"0"
    return -100_000


cdef inline bint is_ascii(Bytes data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t position = 0
    cdef uint64_t word
    while size - position >= 8:
        memcpy(&word, data + position, 8)
        if word & _HIGH_BITS:
            return False
        position += 8
    while position < size:
        if data[position] & 0x80:
            return False
        position += 1
    return True


ctypedef fused Unit:
    uint8_t
    uint16_t
    uint32_t


cdef inline Py_ssize_t read_utf8(
    Bytes data, Py_ssize_t size, uint32_t *text, uint32_t *bits
) noexcept:
    """Write the characters of *data* to *text* and give their number, or -1 if it is not UTF-8.

    *bits* are all that are set in any of them.
    """
    cdef Bytes end = data + size
    cdef uint32_t *start = text
    cdef uint32_t character, second, third, fourth, found = 0
    while data < end:
        character = data[0]
        data += 1
        if character >= 0x80:
            # A byte that goes on with a character is less than 0x40 without its mark.
            if character < 0xC2 or data >= end:
                return -1
            second = data[0] ^ 0x80
            data += 1
            if character < 0xE0:
                if second > 0x3F:
                    return -1
                character = (character & 0x1F) << 6 | second
            elif character < 0xF0:
                if data >= end:
                    return -1
                third = data[0] ^ 0x80
                data += 1
                character = (character & 0x0F) << 12 | second << 6 | third
                if (second | third) > 0x3F or character < 0x800 or character >> 11 == 0xD800 >> 11:
                    return -1
            else:
                if end - data < 2:
                    return -1
                third = data[0] ^ 0x80
                fourth = data[1] ^ 0x80
                data += 2
                character = (character & 0x0F) << 18 | second << 12 | third << 6 | fourth
                if (second | third | fourth) > 0x3F or not 0x10000 <= character <= 0x10FFFF:
                    return -1
            found |= character
        text[0] = character
        text += 1
    bits[0] = found
    return text - start


cdef inline void narrow(Unit *text, uint32_t *characters, Py_ssize_t count) noexcept:
    cdef Py_ssize_t index
    for index in range(count):
        text[index] = <Unit>characters[index]


cdef object utf8_text(Bytes data, Py_ssize_t size):
    """Return *data*, not all of it ASCII, as text.

    PyUnicode_DecodeUTF8 guesses how wide the characters are, and moves them when it was wrong:
    that takes short texts twice the time.
    """
    cdef uint32_t[_SHORT] characters
    cdef uint32_t bits = 0
    cdef Py_ssize_t count = read_utf8(data, size, characters, &bits) if size <= _SHORT else -1
    cdef object text
    if count < 2:  # that gives the error, or the character that all share
        return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)
    text = PyUnicode_New(count, min(bits, 0x10FFFF))
    if bits < 0x100:
        narrow(<uint8_t *>PyUnicode_DATA(text), characters, count)
    elif bits < 0x10000:
        narrow(<uint16_t *>PyUnicode_DATA(text), characters, count)
    else:
        narrow(<uint32_t *>PyUnicode_DATA(text), characters, count)
    return text


cdef inline object ascii_text(Bytes data, Py_ssize_t size):
    """Return *data*, all of it known to be ASCII, as text."""
    cdef object text
    if size < 2:
        return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)  # which shares these
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), data, size)
    return text


cdef Py_ssize_t read_length(
    Bytes data, Py_ssize_t size, Py_ssize_t position, uint64_t *length
) except -1:
    """Return the position after a length-encoded integer, which goes to *length*."""
    cdef int first, width, byte
    if position >= size:
        raise MalformedPacket("packet is cut short")
    first = data[position]
    position += 1
    if first < 0xFB:
        length[0] = first
        return position
    if first == 0xFC:
        width = 2
    elif first == 0xFD:
        width = 3
    elif first == 0xFE:
        width = 8
    else:
        raise MalformedPacket(f"invalid length prefix {first:#x}")
    if width > size - position:
        raise MalformedPacket("packet is cut short")
    length[0] = 0
    for byte in range(width - 1, -1, -1):
        length[0] = length[0] << 8 | data[position + byte]
    return position + width


# The converters raise ValueError on text that the server does not send.


cdef object decode_bytes(Bytes data, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *>data, size)


cdef object decode_int(Bytes data, Py_ssize_t size):
    cdef bint negative = size > 0 and data[0] == c"-"
    cdef Py_ssize_t position = negative
    cdef uint64_t value = 0
    cdef object number
    if position == size:
        raise ValueError
    while position < size:
        if not is_digit(data[position]):
            raise ValueError
        value = value * 10 + (data[position] - c"0")
        position += 1
    if size - negative > 19:  # more digits than always fit
        return int(PyBytes_FromStringAndSize(<const char *>data, size))
    number = PyLong_FromUnsignedLongLong(value)
    return -number if negative else number


cdef object decode_bool(Bytes data, Py_ssize_t size):
    return decode_int(data, size) != 0


cdef object decode_float(Bytes data, Py_ssize_t size):
    cdef char[64] text
    cdef Py_ssize_t position = size > 0 and data[0] == c"-"
    cdef int digits = 0, scale = 0
    cdef bint point = False
    cdef uint64_t mantissa = 0
    cdef double value
    while position < size and digits < 19:
        if is_digit(data[position]):
            mantissa = mantissa * 10 + (data[position] - c"0")
            digits += 1
            scale += point
        elif data[position] == c"." and not point:
            point = True
        else:
            break
        position += 1
    if position == size and digits > 0 and scale <= 18:
        value = decimal_quotient(mantissa, scale)
        if value >= 0:
            return -value if data[0] == c"-" else value
    for position in range(size):
        if not is_digit(data[position]) and data[position] not in b"+-.eE":
            raise ValueError
    if size >= <Py_ssize_t>sizeof(text):
        return float(PyBytes_FromStringAndSize(<const char *>data, size))
    memcpy(text, data, size)
    text[size] = 0
    return PyOS_string_to_double(text, NULL, NULL)


cdef object decode_decimal(Bytes data, Py_ssize_t size):
    cdef Py_ssize_t position = size > 0 and data[0] == c"-"
    cdef bint negative = position, point = False
    cdef Py_ssize_t digits = 0
    cdef int scale = 0
    cdef uint64_t mantissa = 0
    while position < size:
        if is_digit(data[position]):
            mantissa = mantissa * 10 + (data[position] - c"0")
            digits += 1
            scale += point
        elif data[position] == c"." and not point:
            point = True
        else:
            raise ValueError
        position += 1
    if digits == 0:
        raise ValueError
    if digits <= _MOST_DIGITS and mantissa > 0 and _units is not None:
        return scaled(-<int64_t>mantissa if negative else <int64_t>mantissa, scale)
    return _Decimal(ascii_text(data, size))


cdef object scaled(int64_t mantissa, int scale):
    """Return the decimal of *mantissa*, not 0, with *scale* digits after the point.

    As a product it takes half of its text's time, and next to nothing if it is one of the latest.
    """
    cdef Recent *recent = &_recent[(<uint64_t>mantissa * _SPREAD >> 56) ^ scale]
    cdef object value
    cdef PyObject *old
    if recent.mantissa == mantissa and recent.scale == scale:
        return <object>recent.value
    # Products are rounded as the current context says, which is the user's: not to the digit.
    PyContext_Enter(_exact)
    try:
        value = <object>PyTuple_GET_ITEM(_units, scale) * mantissa
    finally:
        PyContext_Exit(_exact)
    old = recent.value
    Py_INCREF(value)  # which the table keeps
    recent.mantissa, recent.scale, recent.value = mantissa, scale, <PyObject *>value
    Py_XDECREF(old)
    return value


cdef inline bint is_day(int year, int month, int day) noexcept:
    if year == 0 or not 1 <= month <= 12 or day == 0:
        return False
    if month == 2:
        if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
            return day <= 29
        return day <= 28
    if month == 4 or month == 6 or month == 9 or month == 11:
        return day <= 30
    return day <= 31


cdef int read_date(Bytes data, int *year, int *month, int *day) except -1:
    """Read the ten bytes of a date; give whether there is such a day."""
    year[0] = two_digits(data) * 100 + two_digits(data + 2)
    month[0] = two_digits(data + 5)
    day[0] = two_digits(data + 8)
    if year[0] < 0 or month[0] < 0 or day[0] < 0 or data[4] != c"-" or data[7] != c"-":
        raise ValueError
    return is_day(year[0], month[0], day[0])


cdef int read_clock(Bytes data, Py_ssize_t size, int *minute, int *second, int *micro) except -1:
    """Read :MM:SS[.f{1,6}]; give whether there is such a minute and second."""
    cdef Py_ssize_t position
    if not (size == 6 or 8 <= size <= 13) or data[0] != c":" or data[3] != c":":
        raise ValueError
    minute[0] = two_digits(data + 1)
    second[0] = two_digits(data + 4)
    if minute[0] < 0 or second[0] < 0:
        raise ValueError
    micro[0] = 0
    if size > 6:
        if data[6] != c".":
            raise ValueError
        for position in range(7, 13):
            micro[0] *= 10
            if position < size:
                if not is_digit(data[position]):
                    raise ValueError
                micro[0] += data[position] - c"0"
    return minute[0] < 60 and second[0] < 60


cdef object decode_date(Bytes data, Py_ssize_t size):
    cdef int year = 0, month = 0, day = 0
    if size != 10:
        raise ValueError
    if read_date(data, &year, &month, &day):
        return date_new(year, month, day)
    return ascii_text(data, size)


cdef object decode_datetime(Bytes data, Py_ssize_t size):
    cdef int year = 0, month = 0, day = 0, hour, minute = 0, second = 0, micro = 0
    cdef bint possible
    if size == 10:
        return decode_date(data, size)
    if size < 19 or data[10] != c" ":
        raise ValueError
    possible = read_date(data, &year, &month, &day)
    hour = two_digits(data + 11)
    if hour < 0:
        raise ValueError
    possible = read_clock(data + 13, size - 13, &minute, &second, &micro) and possible
    if possible and hour < 24:
        return datetime_new(year, month, day, hour, minute, second, micro, None)
    return ascii_text(data, size)


cdef object decode_time(Bytes data, Py_ssize_t size):
    cdef bint negative = size > 0 and data[0] == c"-"
    cdef Py_ssize_t position = negative
    cdef int hours = 0, minute = 0, second = 0, micro = 0, seconds
    while position < size and position - negative < 3 and is_digit(data[position]):
        hours = hours * 10 + data[position] - c"0"
        position += 1
    if position - negative < 2:
        raise ValueError
    if not read_clock(data + position, size - position, &minute, &second, &micro):
        return ascii_text(data, size)
    seconds = hours * 3600 + minute * 60 + second
    if negative:
        return timedelta_new(0, -seconds, -micro)
    return timedelta_new(0, seconds, micro)


# The converters of a binary value. What is no Python value they write as text has it, for the
# text's converter to judge.


# So written that a compiler makes one load of it.


cdef inline uint32_t read_16(Bytes data) noexcept:
    return data[0] | <uint32_t>data[1] << 8


cdef inline uint32_t read_32(Bytes data) noexcept:
    return (
        data[0] | <uint32_t>data[1] << 8 | <uint32_t>data[2] << 16 | <uint32_t>data[3] << 24
    )


cdef inline uint64_t read_64(Bytes data) noexcept:
    return (
        data[0]
        | <uint64_t>data[1] << 8
        | <uint64_t>data[2] << 16
        | <uint64_t>data[3] << 24
        | <uint64_t>data[4] << 32
        | <uint64_t>data[5] << 40
        | <uint64_t>data[6] << 48
        | <uint64_t>data[7] << 56
    )


cdef object rounded(double number, char shape, int digits):
    """Return a number that the server writes with so many digits, or digits after the point."""
    cdef char *text = PyOS_double_to_string(number, shape, digits, 0, NULL)
    if text is NULL:
        raise MemoryError
    try:
        return PyOS_string_to_double(text, NULL, NULL)
    finally:
        PyMem_Free(text)


cdef inline object binary_float(double number, bint is_float32, int decimals):
    if not isfinite(number):
        raise ValueError
    if decimals < _NO_DECIMALS:
        return rounded(number, c"f", decimals)
    return rounded(number, c"g", _FLOAT_DIGITS) if is_float32 else number


cdef inline object binary_number(int kind, Bytes data, int decimals, bint is_bool):
    """Return a value of so many bytes as its kind has."""
    cdef int64_t number
    cdef uint64_t bits
    cdef uint32_t word
    cdef double real
    cdef float half
    if kind == _INT32:
        number = <int32_t>read_32(data)
    elif kind == _UINT32:
        number = read_32(data)
    elif kind == _INT64:
        number = <int64_t>read_64(data)
    elif kind == _INT8:
        number = <int8_t>data[0]
    elif kind == _FLOAT64:
        bits = read_64(data)
        memcpy(&real, &bits, 8)
        return binary_float(real, False, decimals)
    elif kind == _UINT8:
        number = data[0]
    elif kind == _INT16:
        number = <int16_t>read_16(data)
    elif kind == _UINT16:
        number = read_16(data)
    elif kind == _FLOAT32:
        word = read_32(data)
        memcpy(&half, &word, 4)
        return binary_float(half, True, decimals)
    else:
        bits = read_64(data)
        return bits != 0 if is_bool else PyLong_FromUnsignedLongLong(bits)
    return number != 0 if is_bool else PyLong_FromLongLong(number)


cdef inline int read_microsecond(Bytes data, bint present, int decimals) except -1:
    """Read a microsecond without the digits that text has not."""
    cdef uint32_t micro = read_32(data) if present else 0
    cdef uint32_t unit = 1
    if micro > 999_999:
        raise ValueError
    if micro and decimals < 6:
        while decimals < 6:
            unit *= 10
            decimals += 1
        micro -= micro % unit
    return <int>micro


cdef int write_fraction(char *text, int micro, int decimals) noexcept:
    """Write a microsecond as it stands behind the seconds; give the size of that."""
    if decimals > 6:
        decimals = 6 if micro else 0
    if decimals == 0:
        return 0
    snprintf(text, 9, b".%06d", micro)
    return decimals + 1


cdef object binary_date(Bytes data, Py_ssize_t size):
    cdef char[16] text
    cdef int year = 0, month = 0, day = 0
    if size == 4:
        year, month, day = read_16(data), data[2], data[3]
    elif size != 0:
        raise ValueError
    if is_day(year, month, day) and year < 10_000:
        return date_new(year, month, day)
    return decode_date(
        <Bytes>text, snprintf(text, sizeof(text), b"%04d-%02d-%02d", year, month, day)
    )


cdef object binary_datetime(Bytes data, Py_ssize_t size, int decimals):
    cdef char[40] text
    cdef int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, micro
    cdef int written
    if size != 0 and size != 4 and size != 7 and size != 11:
        raise ValueError
    if size >= 4:
        year, month, day = read_16(data), data[2], data[3]
    if size >= 7:
        hour, minute, second = data[4], data[5], data[6]
    micro = read_microsecond(data + 7, size == 11, decimals)
    if is_day(year, month, day) and year < 10_000 and hour < 24 and minute < 60 and second < 60:
        return datetime_new(year, month, day, hour, minute, second, micro, None)
    written = snprintf(
        text,
        sizeof(text),
        b"%04d-%02d-%02d %02d:%02d:%02d",
        year,
        month,
        day,
        hour,
        minute,
        second,
    )
    written += write_fraction(text + written, micro, decimals)
    return decode_datetime(<Bytes>text, written)


cdef object binary_time(Bytes data, Py_ssize_t size, int decimals):
    cdef char[40] text
    cdef int64_t hours = 0
    cdef int minute = 0, second = 0, micro, sign = 1
    cdef int written
    if size != 0 and size != 8 and size != 12:
        raise ValueError
    if size >= 8:
        sign = -1 if data[0] else 1
        hours = <int64_t>read_32(data + 1) * 24 + data[5]
        minute, second = data[6], data[7]
    micro = read_microsecond(data + 8, size == 12, decimals)
    if hours < 1000 and minute < 60 and second < 60:
        return timedelta_new(0, sign * (<int>hours * 3600 + minute * 60 + second), sign * micro)
    written = snprintf(
        text,
        sizeof(text),
        b"%s%02lld:%02d:%02d",
        b"-" if sign < 0 else b"",
        <long long>hours,
        minute,
        second,
    )
    written += write_fraction(text + written, micro, decimals)
    return decode_time(<Bytes>text, written)


_CONVERTERS[0] = NULL  # text, which needs the encoding
_CONVERTERS[1] = decode_bytes
_CONVERTERS[2] = decode_int
_CONVERTERS[3] = decode_float
_CONVERTERS[4] = decode_decimal
_CONVERTERS[5] = decode_datetime
_CONVERTERS[6] = decode_date
_CONVERTERS[7] = decode_time
_CONVERTERS[8] = decode_bool
_CONVERTERS[9] = decode_float

for _kind, _width in enumerate(WIDTHS):
    _widths[_kind] = _width


cdef int process(tuple row, tuple processors) except -1:
    """Put what each processor gives in the place of the value it takes.

    Give whether one of them gives what may refer to other objects.
    """
    cdef Py_ssize_t column
    cdef bint refers = False
    cdef object processor, old, new
    for column, processor in processors:
        old = <object>PyTuple_GET_ITEM(row, column)  # a reference of our own to a borrowed one
        new = processor(old)
        refers |= PyObject_IS_GC(new)
        Py_INCREF(new)  # PyTuple_SET_ITEM steals a reference
        PyTuple_SET_ITEM(row, column, new)
        Py_DECREF(old)  # the one that the row had
    return refers


cdef class Decoder:
    """Decode the rows of one result.

    They are binary rows if there is a code in *wire* for each column.
    """

    def __cinit__(self):
        self._names = self._processors = ()
        self._conversions = b""

    def __init__(self, names, conversions, processors, encoding, wire=None):
        names, conversions, processors = tuple(names), tuple(conversions), tuple(processors)
        if not len(names) == len(conversions) == len(processors):
            raise ValueError(
                "expected as many names as conversions and processors, "
                f"got {len(names)}, {len(conversions)} and {len(processors)}"
            )
        for conversion in conversions:
            if conversion not in range(10):
                raise ValueError(f"unknown conversion {conversion!r}")
        codes = bytes(conversions)
        if wire is not None:
            wire = tuple(wire)
            if len(wire) != len(names):
                raise ValueError(f"expected {len(names)} wire codes, got {len(wire)}")
            for code, conversion in zip(wire, conversions):
                check_wire(code, conversion)
            codes += bytes([code & (1 << _KIND_BITS) - 1 for code in wire])
            codes += bytes([code >> _KIND_BITS for code in wire])
        name = codecs.lookup(encoding).name
        pairs = tuple([
            (column, processor)
            for column, processor in enumerate(processors)
            if processor is not None
        ])
        # All at once, and last: a row may be being decoded, if only by what the collector calls. So
        # what was there goes when all is there.
        _old = self._names, self._conversions, self._processors, self._encoding
        self._names = names
        self._conversions = codes
        self._processors = pairs
        self._encoding = name
        self._ascii = name in _ASCII_SUPERSETS
        self._utf8 = name == "utf-8"
        self._binary = wire is not None

    def row(self, bytes payload not None):
        """Decode one row packet."""
        return self._decode(<Bytes>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef tuple _decode(self, Bytes data, Py_ssize_t size):
        # The caller keeps the data alive. The locals keep what a second __init__ would replace.
        cdef bytes conversions = self._conversions
        cdef tuple processors = self._processors
        cdef tuple names = self._names
        cdef Py_ssize_t count = PyBytes_GET_SIZE(conversions)
        cdef Bytes codes = <Bytes>PyBytes_AS_STRING(conversions)
        cdef Py_ssize_t column = 0, position = 0, left = 0
        cdef uint64_t length = 0
        cdef Converter convert
        cdef tuple row
        cdef object value
        if self._binary:
            row = self._decode_binary(data, size, &left)
        else:
            row = PyTuple_New(count)
            try:
                for column in range(count):
                    if position >= size:
                        raise MalformedPacket("row packet is cut short")
                    length = data[position]
                    position += 1
                    if length == 0xFB:
                        value = None
                    else:
                        if length > 0xFB:
                            position = read_length(data, size, position - 1, &length)
                        if length > <uint64_t>(size - position):
                            raise MalformedPacket("row packet is cut short")
                        convert = _CONVERTERS[codes[column]]
                        if convert is NULL:
                            value = self._text(data + position, <Py_ssize_t>length)
                        else:
                            value = convert(data + position, <Py_ssize_t>length)
                        position += <Py_ssize_t>length
                    Py_INCREF(value)  # PyTuple_SET_ITEM steals a reference
                    PyTuple_SET_ITEM(row, column, value)
            except ValueError:
                value = PyBytes_FromStringAndSize(<const char *>data + position, <Py_ssize_t>length)
                from ._packet_py import undecodable  # as late as this: most never need it
                raise undecodable(names[column], codes[column], value, self._encoding) from None
            left = size - position
        if left:
            raise MalformedPacket(f"row packet has {left} bytes left over")
        if not processors or not process(row, processors):
            # What is decoded refers to nothing: the collector would untrack the row, once it had
            # looked at it.
            PyObject_GC_UnTrack(<void *>row)
        elif not PyObject_GC_IsTracked(row):
            # The collector ran between two processors, while the row still referred to nothing.
            PyObject_GC_Track(<void *>row)
        return row

    cdef tuple _decode_binary(self, Bytes data, Py_ssize_t size, Py_ssize_t *left):
        """Decode a 0x00, a bit for each column that is NULL, from the third on, and the others."""
        cdef bytes conversions = self._conversions
        cdef tuple names = self._names
        cdef Py_ssize_t count = PyBytes_GET_SIZE(conversions) // 3
        cdef Bytes codes = <Bytes>PyBytes_AS_STRING(conversions)
        cdef Bytes kinds = codes + count
        cdef Bytes decimals = kinds + count
        cdef Py_ssize_t column = 0, position = 1 + (count + 9 >> 3)
        cdef uint64_t length = 0
        cdef int kind
        cdef Bytes bitmap = data + 1
        cdef unsigned int nulls, is_null
        cdef Converter convert
        cdef tuple row = PyTuple_New(count)
        cdef object value
        if size < position:
            raise MalformedPacket("row packet is cut short")
        if data[0] != 0:
            raise MalformedPacket(f"row packet begins with {data[0]:#04x}, expected 0x00")
        nulls = data[1] >> 2 | 1 << 6  # the highest bit tells when there is no other
        try:
            for column in range(count):
                if nulls == 1:
                    bitmap += 1
                    nulls = bitmap[0] | 1 << 8
                is_null = nulls & 1
                nulls >>= 1
                if is_null:
                    value = None
                else:
                    kind = kinds[column]
                    if _SIZED < kind < _CALENDAR:
                        length = _widths[kind]
                    elif position < size and data[position] < 0xFB:
                        length = data[position]
                        position += 1
                    else:
                        position = read_length(data, size, position, &length)
                    if length > <uint64_t>(size - position):
                        raise MalformedPacket("row packet is cut short")
                    if _SIZED < kind < _CALENDAR:
                        value = binary_number(
                            kind, data + position, decimals[column], codes[column] == _BOOL
                        )
                    elif kind == _CALENDAR:
                        if codes[column] == _DATE:
                            value = binary_date(data + position, length)
                        else:
                            value = binary_datetime(data + position, length, decimals[column])
                    elif kind != _SIZED:
                        value = binary_time(data + position, length, decimals[column])
                    else:
                        convert = _CONVERTERS[codes[column]]
                        if convert is NULL:
                            value = self._text(data + position, <Py_ssize_t>length)
                        else:
                            value = convert(data + position, <Py_ssize_t>length)
                    position += <Py_ssize_t>length
                Py_INCREF(value)  # PyTuple_SET_ITEM steals a reference
                PyTuple_SET_ITEM(row, column, value)
        except ValueError:
            value = PyBytes_FromStringAndSize(<const char *>data + position, <Py_ssize_t>length)
            from ._packet_py import undecodable
            raise undecodable(names[column], codes[column], value, self._encoding) from None
        left[0] = size - position
        return row

    cdef object _text(self, Bytes data, Py_ssize_t size):
        if self._ascii and is_ascii(data, size):
            return ascii_text(data, size)
        if self._utf8:
            return utf8_text(data, size)
        # Not PyUnicode_Decode: a traceback through a codec written in Python would keep a view of
        # memory that is not its own.
        return PyBytes_FromStringAndSize(<const char *>data, size).decode(self._encoding)


# Nothing it owns can refer back to it, and its buffer must outlive every cycle that it is in.
@cython.no_gc
cdef class Reader:
    """The bytes received on one connection, framed into packets and decoded in place."""

    def __cinit__(self):
        self._reset()

    def __init__(self, limit=1 << 30):
        self._reset()
        self.limit = limit

    @property
    def limit(self):
        """The most bytes that a packet may have."""
        return self._limit

    @limit.setter
    def limit(self, limit):
        self._limit = min(limit, PY_SSIZE_T_MAX)

    @property
    def buffered(self):
        """The number of bytes received and not yet given out."""
        return self._end - self._start + self._held

    cpdef object get_buffer(self, sizehint):
        """Return the free space to receive into, never empty."""
        cdef Py_ssize_t size
        self._make_room()
        self._lent = True
        if self._capacity <= _CAPACITY and self._end == 0:
            # Another view of all of it: one that is released is not the reader's own.
            return PyMemoryView_FromObject(self._buffer)
        size = self._missing()
        return self._buffer[self._end : self._end + min(size, self._capacity - self._end)]

    cpdef object buffer_updated(self, nbytes):
        """Count *nbytes* written to the space that `get_buffer` gave."""
        cdef Py_ssize_t size = PyNumber_AsSsize_t(nbytes, NULL)
        if not 0 <= size <= self._capacity - self._end:
            raise ValueError(f"expected 0 to {self._capacity - self._end} bytes, got {nbytes}")
        self._lent = False
        self._end += size

    def feed(self, data):
        """Take *data* as received."""
        cdef Py_buffer unread
        cdef Py_ssize_t position = 0, taken
        PyObject_GetBuffer(data, &unread, PyBUF_SIMPLE)
        try:
            while position < unread.len:
                self._make_room()
                taken = min(unread.len - position, self._capacity - self._end)
                # What comes may be a view of this very buffer.
                memmove(self._data + self._end, <const char *>unread.buf + position, taken)
                self._end += taken
                position += taken
        finally:
            PyBuffer_Release(&unread)

    cpdef bint skip(self, bytes packets, int count) except -1:
        """Leave *packets*, *count* of them with their headers, behind if they come next."""
        cdef Py_ssize_t size = len(packets)
        cdef Bytes expected = <Bytes>PyBytes_AS_STRING(packets)
        if self._pieces or size > self._end - self._start:
            return False
        if memcmp(self._data + self._start, expected, size) != 0:
            return False
        if self.sequence >= 0:
            if size < 4 or expected[3] != self.sequence:
                return False
            self.sequence = (self.sequence + count) & 0xFF
        self._start += size
        if self._start == self._end and not self._lent:
            self._rewind()
        return True

    cpdef tuple oks(self, int status, bytes behind):
        """Leave plain OK packets of *status* behind, each with the packets *behind* it.

        Plain is one that counts at most 250 rows and has no insert id. Return how many there were,
        the rows and the warnings of all but the last of them, and its own. *behind* are packets
        with their headers, whose sequence ids do not count.
        """
        cdef Py_ssize_t count = 0, rows = 0, warnings = 0, stop
        cdef Py_ssize_t size = len(behind)
        cdef int last_rows = 0, last_warnings = 0
        cdef Bytes ok
        while True:
            stop = self._ok_end(status, <Bytes>PyBytes_AS_STRING(behind), size)
            if stop == 0:
                return count, rows, warnings, last_rows, last_warnings
            rows += last_rows
            warnings += last_warnings
            ok = self._data + self._start + 4
            last_rows, last_warnings = ok[1], ok[5] | ok[6] << 8
            count += 1
            self._start = stop
            if stop == self._end and not self._lent:
                self._rewind()

    cdef Py_ssize_t _ok_end(self, int status, Bytes behind, Py_ssize_t size) noexcept:
        """Return where the next plain OK packet ends, with those behind it; 0 if there is none."""
        cdef Bytes data = self._data
        cdef Py_ssize_t stop = self._start, end = self._end
        cdef Py_ssize_t length
        cdef int sequence = self.sequence
        cdef Bytes ok = data + stop + 4
        if self._pieces or end - stop < 4 + 7:
            return 0
        length = data[stop] | data[stop + 1] << 8 | data[stop + 2] << 16
        if not 7 <= length < _MAX_PIECE or length > self._limit or length > end - stop - 4:
            return 0
        if ok[0] != 0 or ok[1] > 250 or ok[2] != 0 or (ok[3] | ok[4] << 8) != status:
            return 0
        if sequence >= 0:
            if data[stop + 3] != sequence:
                return 0
            sequence = (sequence + 1) & 0xFF
        stop += 4 + length
        while size > 0:
            if size < 4:
                return 0
            length = behind[0] | behind[1] << 8 | behind[2] << 16
            if length > size - 4 or length > end - stop - 4:
                return 0
            if memcmp(data + stop, behind, 3) or memcmp(data + stop + 4, behind + 4, length):
                return 0
            if sequence >= 0:
                if data[stop + 3] != sequence:
                    return 0
                sequence = (sequence + 1) & 0xFF
            stop += 4 + length
            behind += 4 + length
            size -= 4 + length
        self.sequence = sequence
        return stop

    def may_be_error(self, Py_ssize_t most):
        """Tell whether what has come may be an error packet of up to *most* bytes, or begin one."""
        cdef Bytes header = self._data + self._start
        cdef Py_ssize_t available = self._end - self._start - 4
        cdef Py_ssize_t length
        if available < 0:
            return True
        length = header[0] | header[1] << 8 | header[2] << 16
        return 0 < length <= most and (available == 0 or header[4] == 0xFF)

    cpdef bytes packet(self):
        """Return the next whole payload, or None if it is not all there."""
        return self._take()

    cpdef bytes definitions(self, count):
        """Return the next *count* packets, headers included, or None if they are not all there."""
        cdef Py_ssize_t length
        while self._seen < count:
            length = self._arrived()
            if length < 0:
                return None
            if length == 0 or length == _MAX_PIECE:
                raise MalformedPacket(f"column definition of {length} bytes")
            if self._data[self._start + 4] == 0xFF:
                # The server gives up and sends no more definitions.
                error = self._consume(4, length)
                raise MalformedPacket(f"expected a column definition, got {error[:64]!r}")
            self._pieces.append(self._consume(0, 4 + length))
            self._held += 4 + length
            self._seen += 1
        self._seen = 0
        return self._join()

    cpdef bytes rows(self, Decoder decoder, out, bint deprecate_eof, Py_ssize_t most=0):
        """Decode every row that is there into *out*; give the packet that ends the rows, or None.

        Without a decoder the rows are thrown away. A row that raises has been consumed. With *most*
        no row is taken once *out* has as many.
        """
        cdef Py_ssize_t longest_end = _MAX_PIECE - 1 if deprecate_eof else 8
        cdef Py_ssize_t length
        cdef Bytes data
        cdef object owner  # keeps the data alive, whatever the processors do to the reader
        while True:
            length = self._arrived()
            if length < 0:
                return None
            if 0 < length < _MAX_PIECE and not self._pieces:
                owner = self._buffer
                data = self._data + self._start + 4
                self._advance(4 + length)
            else:
                owner = self._take()
                if owner is None:
                    return None
                data = <Bytes>PyBytes_AS_STRING(owner)
                length = PyBytes_GET_SIZE(owner)
            if data[0] == 0xFF or (data[0] == 0xFE and length <= longest_end):
                return PyBytes_FromStringAndSize(<const char *>data, length)
            if decoder is not None:
                out.append(decoder._decode(data, length))
                if most and len(out) == most:
                    return None

    cdef bytes _take(self):
        """Take the next whole payload out of the buffer, if it is all there."""
        cdef Py_ssize_t length
        cdef bytes payload
        while True:
            length = self._arrived()
            if length < 0:
                return None
            payload = self._consume(4, length)
            if length == _MAX_PIECE or self._pieces:
                self._pieces.append(payload)
                self._held += length
                if length == _MAX_PIECE:
                    continue
                payload = self._join()
            if not payload:
                raise MalformedPacket("empty packet")
            return payload

    cdef inline Py_ssize_t _arrived(self) except -2:
        """Return the payload length of the next wire packet if it is all there, else -1."""
        cdef Bytes header = self._data + self._start
        cdef Py_ssize_t available = self._end - self._start - 4
        cdef Py_ssize_t length
        if available < 0:
            return -1
        length = header[0] | header[1] << 8 | header[2] << 16
        if self.sequence >= 0 and header[3] != self.sequence:
            raise MalformedPacket(f"packet sequence {header[3]}, expected {self.sequence}")
        if length > self._limit - self._held:
            raise PacketTooLarge(f"packet of {self._held + length} bytes, limit {self._limit}")
        return length if length <= available else -1

    cdef bytes _consume(self, Py_ssize_t skip, Py_ssize_t length):
        """Take *length* bytes, the rest of one wire packet, from *skip* bytes on."""
        cdef const char *data = <const char *>self._data + self._start + skip
        cdef bytes taken = PyBytes_FromStringAndSize(data, length)
        self._advance(skip + length)
        return taken

    cdef inline int _advance(self, Py_ssize_t size) except -1:
        """Leave the *size* bytes of one wire packet behind: they stay where they are for now."""
        self._start += size
        if self.sequence >= 0:
            self.sequence = (self.sequence + 1) & 0xFF
        if self._start == self._end and not self._lent:
            self._rewind()
        return 0

    cdef bytes _join(self):
        """Return the pieces as one, and forget them."""
        cdef bytes whole = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return whole

    cdef Py_ssize_t _missing(self) noexcept:
        """Return how much to receive at once: `CAPACITY`, or what completes a longer packet."""
        cdef Bytes header = self._data + self._start
        cdef Py_ssize_t available = self._end - self._start - 4
        if available < 0:
            return _CAPACITY
        return max(_CAPACITY, (header[0] | header[1] << 8 | header[2] << 16) - available)

    cdef int _make_room(self) except -1:
        """Have at least a quarter of the buffer free: each byte is moved a bounded number of times.

        The old buffer is left as it is for the views that are out: it never changes its size.
        """
        cdef object _old  # keeps the unread bytes alive
        cdef Bytes unread
        cdef Py_ssize_t size
        if self._start == self._end:
            self._rewind()
        if self._capacity - self._end >= self._capacity >> 2:
            return 0
        _old = self._buffer
        unread = self._data + self._start
        size = self._end - self._start
        if size > self._capacity >> 1:
            self._replace(2 * self._capacity)
        memmove(self._data, unread, size)
        self._start, self._end = 0, size
        return 0

    cdef int _rewind(self) except -1:
        """Start over with the empty buffer, or with a small one."""
        self._start = self._end = 0
        if self._capacity > _IDLE_CAPACITY:
            self._replace(_CAPACITY)
        return 0

    cdef int _reset(self) except -1:
        self._replace(_CAPACITY)
        self._start = self._end = self._held = self._seen = 0
        self._lent = False
        self._pieces = []
        self.sequence = -1
        return 0

    cdef int _replace(self, Py_ssize_t capacity) except -1:
        """Put an empty buffer in the place of the present one, which its views keep alive."""
        cdef object buffer = bytearray(capacity)
        self._buffer = memoryview(buffer)
        self._data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        self._capacity = capacity
        return 0


cpdef tuple parse_ok(bytes payload):
    """Return affected rows, insert id, server status, warning count and info of an OK packet."""
    cdef Py_ssize_t size = len(payload)
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t position
    cdef uint64_t affected_rows = 0, last_insert_id = 0
    if size == 0 or (data[0] != 0x00 and data[0] != 0xFE):
        raise MalformedPacket(f"expected an OK packet, got {payload[:64]!r}")
    position = read_length(data, size, 1, &affected_rows)
    position = read_length(data, size, position, &last_insert_id)
    if size - position < 4:
        raise MalformedPacket("packet is cut short")
    return (
        affected_rows,
        last_insert_id,
        data[position] | data[position + 1] << 8,
        data[position + 2] | data[position + 3] << 8,
        payload[position + 4 :],
    )


cpdef tuple parse_eof(bytes payload):
    """Return warning count and server status of an EOF packet."""
    cdef Py_ssize_t size = len(payload)
    cdef Bytes data = <Bytes>PyBytes_AS_STRING(payload)
    if size == 0 or data[0] != 0xFE:
        raise MalformedPacket(f"expected an EOF packet, got {payload[:64]!r}")
    if size < 5:
        raise MalformedPacket("packet is cut short")
    return data[1] | data[2] << 8, data[3] | data[4] << 8

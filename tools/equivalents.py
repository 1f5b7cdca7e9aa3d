"""The changes that no test can notice, or need not, each with its reason; see `mutants.py`.

An entry names what stands in the source, not where: it holds until its statement changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mutations import Mutant


@dataclass(frozen=True)
class Known:
    """Changes of a function's statement, all of them if none is named, and why they survive."""

    source: str
    function: str
    code: str
    changes: tuple[str, ...]
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Tell whether *mutant*, one of the source's, is among them."""
        return (
            mutant.function == self.function
            and mutant.code == self.code
            and (not self.changes or mutant.change in self.changes)
        )


ANY_NEGATIVE = "whoever calls it asks only whether it is negative"
FALLS_THROUGH = "what comes after it gives the same"
NEVER_READ = "it is set before it is read"
NO_SUCH_SIZE = "no bytes are so many"
QUICKER = "the other way gives the same, only slower"

KNOWN = [
    # -- _packet ---------------------------------------------------------------------------------
    Known(
        "_packet_py.py",
        "_decode_text",
        'return bytes.decode if encoding == "utf-8" else methodcaller("decode", encoding)',
        ('encoding == "utf-8" -> False', '"utf-8" -> "~utf-8"'),
        QUICKER,
    ),
    Known(
        "_packet_py.py",
        "_decode_datetime",
        'if text[11:13] == "24":',
        (
            'text[11:13] == "24" -> False',
            *("11 -> 10", "11 -> 12", "13 -> 12", "13 -> 14", '"24" -> "~24"'),
        ),
        "fromisoformat() takes hour 24 from Python 3.13 on only",
    ),
    Known("_packet_py.py", "_decode_datetime", "return text", ("-> pass",), "likewise"),
    Known(
        "_packet_py.py",
        "_decode_datetime",
        'return datetime.fromisoformat(text if len(text) == 19 else text.ljust(26, "0"))',
        ("len(text) == 19 -> True", "26 -> 25", "26 -> 27"),
        "fromisoformat() takes any number of decimals from Python 3.11 on",
    ),
    Known(
        "_packet_py.py",
        "_decode_float",
        'if value.translate(None, b"0123456789+-.eE"):',
        ('b"0123456789+-.eE" -> b"~0123456789+-.eE"',),
        "float() refuses it too",
    ),
    Known(
        "_packet_py.py",
        "_decode_time",
        'if minutes > "59" or seconds[:2] > "59":',
        ("2 -> 1",),
        "the first digit alone is greater or not",
    ),
    Known("_packet_py.py", "Decoder.row", 'value = b""', ('b"" -> b"~"',), NEVER_READ),
    Known(
        "_packet_py.py",
        "Decoder.row",
        "if length > _NULL:",
        ("> -> >=", "length > _NULL -> True"),
        QUICKER,
    ),
    Known(
        "_packet_py.py",
        "Reader.__init__",
        "self._start = self._end = 0",
        ("0 -> 1",),
        "who puts the first bytes in starts over",
    ),
    Known(
        "_packet_py.py",
        "Reader._take",
        "if length == MAX_PIECE or self._pieces:",
        ("length == MAX_PIECE or self._pieces -> True",),
        QUICKER,
    ),
    *(
        Known("_packet_py.py", function, "return None", ("-> pass",), FALLS_THROUGH)
        for function in ("Reader._take", "Reader.rows")
    ),
    Known("_packet_py.py", "Reader._arrived", "return -1", ("1 -> 2",), ANY_NEGATIVE),
    Known(
        "_packet_py.py",
        "Reader._arrived",
        "return length if length <= available else -1",
        ("1 -> 2",),
        ANY_NEGATIVE,
    ),
    Known(
        "_packet_py.py",
        "Reader._missing",
        "header = self._buffer[self._start : min(self._end, self._start + 4)]",
        ("4 -> 5",),
        "no more than four are looked at",
    ),
    # -- _escape ---------------------------------------------------------------------------------
    Known(
        "_escape_py.py",
        "_is_utf8",
        'return codecs.lookup(encoding).name == "utf-8"',
        (
            "-> pass",
            '"utf-8" -> "~utf-8"',
            'codecs.lookup(encoding).name == "utf-8" -> None',
        ),
        QUICKER,
    ),
    Known(
        "_escape_py.py",
        "_backslashed",
        "if not _special(value):",
        ("not _special(value) -> False",),
        QUICKER,
    ),
    Known("_escape_py.py", "_backslashed", "return value", ("-> pass",), FALLS_THROUGH),
    Known(
        "_escape_py.py",
        "frame",
        "if len(payload) < _MAX_PAYLOAD:",
        ("len(payload) < _MAX_PAYLOAD -> False",),
        QUICKER,
    ),
    Known(
        "_escape_py.py",
        "_text_writer.write",
        "if utf8 or value.isascii() or _reads_as(literal.decode(encoding), text):",
        ("utf8 -> False",),
        QUICKER,
    ),
    Known(
        "_escape_py.py",
        "_reads_as",
        "if read == text:",
        ("read == text -> False",),
        QUICKER,
    ),
    Known("_escape_py.py", "_reads_as", "return True", ("-> pass",), FALLS_THROUGH),
    Known(
        "_escape_py.py",
        "_reads_as",
        "return len(read) == len(text) and all(map(_harmless, text, read))",
        ("len(read) == len(text) -> True",),
        "what reads back shorter has its closing quote elsewhere; nothing reads back longer",
    ),
    Known(
        "_escape_py.py",
        "_unencodable",
        "pairs = enumerate(zip(value, read, strict=False))",
        ("False -> True",),
        "the first difference comes before the end of the shorter one",
    ),
    Known(
        "_escape_py.py",
        "_unencodable",
        "position = next((i for i, (a, b) in pairs if a != b and (resized or b.isascii())), 0)",
        ("(resized or b.isascii()) -> True", "0 -> 1"),
        "no codec has look-alikes and a byte of ASCII for another character; there is a difference",
    ),
    Known(
        "_escape_py.py",
        "_interleave",
        'pieces = [b""] * (2 * len(values) + 1)',
        ('b"" -> b"~"',),
        NEVER_READ,
    ),
    Known(
        "_escape_py.py",
        "_struct_time",
        "return _datetime(0, datetime(*value[:6]))",
        ("0 -> 1",),
        "the mode is not looked at, for there is no zone",
    ),
    Known(
        "_escape_py.py",
        "",
        "_SOME_DAY = date(2000, 1, 1)",
        ("1 -> 2 #2",),
        "any day serves that has one before it and one behind",
    ),
    Known(
        "_escape_cy.pyx",
        "_fill",
        "table[code] = ord(text[1]) if len(text) == 2 else 0",
        (),
        "it runs when the module is imported, before a change is switched on",
    ),
    Known(
        "_escape_cy.pyx",
        "_open",
        "out.utf8 = ( PyUnicode_CheckExact(encoding)"
        ' and (encoding == "utf8" or encoding == "utf-8") ) or _is_utf8(encoding)',
        (
            '( PyUnicode_CheckExact(encoding) and (encoding == "utf8" ... -> False',
            *('"utf8" -> "~utf8"', '"utf-8" -> "~utf-8"'),
            *('encoding == "utf8" -> False', 'encoding == "utf-8" -> False', "or -> and"),
        ),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_is_plain_number",
        "return False",
        ("-> pass",),
        "the text of a Decimal is ASCII",
    ),
    Known(
        "_escape_cy.pyx",
        "_among",
        "return (word - each) & ~word & (each << 7)",
        ("& -> |", "& -> | #2", "7 -> 6"),
        "each byte is looked at where a word may have one that is special",
    ),
    Known(
        "_escape_cy.pyx",
        "_put_raw",
        "memcpy(&word, data + index, 8)",
        ("8 -> 9",),
        "AddressSanitizer notices (make sanitize)",
    ),
    Known("_escape_cy.pyx", "_put_raw", "memcpy(target, &word, 8)", ("8 -> 9",), "likewise"),
    *(
        Known("_escape_cy.pyx", function, "raise MemoryError", ("-> pass",), NO_SUCH_SIZE)
        for function in ("_put_raw", "_put_hex")
    ),
    Known(
        "_escape_cy.pyx",
        "_put_hex",
        "if size > PY_SSIZE_T_MAX // 2:",
        ("2 -> 3", "> -> >=", "size > PY_SSIZE_T_MAX // 2 -> False"),
        NO_SUCH_SIZE,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_hex",
        "_reserve(out, 2 * size)",
        ("2 -> 3",),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "frame",
        "if not PyBytes_CheckExact(payload):",
        ("not PyBytes_CheckExact(payload) -> True",),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_grow",
        "if out.capacity <= PY_SSIZE_T_MAX // 2 and capacity < 2 * out.capacity:",
        ("2 -> 3", "< -> <="),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "_grow",
        "capacity = 2 * out.capacity",
        ("2 -> 3",),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "_reserve",
        "if extra > out.capacity - out.size:",
        ("> -> >=",),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "_put_digits",
        "while number or at == 20:",
        ("at == 20 -> False", "20 -> 21"),
        "a zero is its padding",
    ),
    Known("_escape_cy.pyx", "_put_int", "cdef int overflow = 0", ("0 -> 1",), NEVER_READ),
    Known(
        "_escape_cy.pyx",
        "_millionths",
        "if not 1e-4 <= fabs(number) < 1e9:",
        ("not 1e-4 <= fabs(number) < 1e9 -> True",),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_millionths",
        "millionths = llrint(number * 1e6)",
        ("1e6 -> 100000.0",),
        QUICKER,
    ),
    Known("_escape_cy.pyx", "_put_millionths", "if millionths < 0:", ("0 -> 1",), "it is not 0"),
    Known(
        "_escape_cy.pyx",
        "_put_millionths",
        "while width > 1 and decimals % 10 == 0:",
        ("> -> >=", "1 -> 0"),
        "a zero is a digit at any width",
    ),
    Known("_escape_cy.pyx", "_put_float", "if millionths:", ("millionths -> False",), QUICKER),
    Known(
        "_escape_cy.pyx",
        "_put_float",
        "return _put_millionths(out, millionths)",
        ("-> pass",),
        FALLS_THROUGH,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_float",
        "if not isfinite(number):",
        ("not isfinite(number) -> True",),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_is_plain_number",
        "if not PyUnicode_IS_ASCII(text):",
        (
            "not -> nothing",
            "not PyUnicode_IS_ASCII(text) -> False",
            "not PyUnicode_IS_ASCII(text) -> True",
        ),
        QUICKER,
    ),
    Known("_escape_cy.pyx", "_is_plain_number", "return False", ("False -> True",), QUICKER),
    Known(
        "_escape_cy.pyx",
        "_is_plain_number",
        'if not (c"0" <= chars[index] <= c"9" or chars[index] == c"." or chars[index] == c"-"):',
        (
            'not (c"0" <= chars[index] <= c"9" or chars[index] == c"."... -> True',
            'c"0" -> c"/"',
            'c"0" -> c"1"',
            'c"0" <= chars[index] <= c"9" -> False',
            "<= -> <",
            "<= -> < #2",
            'c"9" -> c"8"',
            'c"." -> c"-"',
            'c"." -> c"/"',
            "or -> and #2",
        ),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_decimal",
        "if PyUnicode_GET_LENGTH(text) <= _max_decimal_digits and _is_plain_number(text):",
        ("PyUnicode_GET_LENGTH(text) <= _max_decimal_digits and _is... -> False", "<= -> <"),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_ascii",
        "_reserve(out, 2 * (stop - index))",
        ("2 -> 3",),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "_put_unicode",
        "_reserve(out, 4 * (stop - index))",
        ("4 -> 5",),
        "there is room for more than what is written",
    ),
    Known(
        "_escape_cy.pyx",
        "_put_unicode",
        "if character < 0x80 and after[character]:",
        ("0x80 -> 0x7f",),
        "DEL is not escaped",
    ),
    Known(
        "_escape_cy.pyx",
        "_put_text",
        "if not PyUnicode_IS_ASCII(value) and not out.utf8:",
        ("not PyUnicode_IS_ASCII(value) and not out.utf8 -> True", "not out.utf8 -> True"),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_raw",
        "if size > PY_SSIZE_T_MAX // 2 - 9:",
        ("2 -> 1", "2 -> 3", "- -> +", "9 -> 10", "9 -> 8"),
        NO_SUCH_SIZE,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_raw",
        "if stop - index == 8:",
        ("stop - index == 8 -> False", "- -> +", "8 -> 9"),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_raw",
        'if not (_among(c"\'", word) | _among(c"\\\\", word) | _among(c"\\r", word)):',
        ('not (_among(c"\'", word) | _among(c"\\\\", word) | _among(c"... -> False',),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_raw",
        'if byte == c"\'" or byte == c"\\\\" or byte == c"\\r":',
        ("or -> and #2",),
        "Cython 3.3 compiles it to the same switch",
    ),
    Known(
        "_escape_cy.pyx", "_put_hex", "if size > PY_SSIZE_T_MAX // 2:", ("2 -> 1",), NO_SUCH_SIZE
    ),
    Known(
        "_escape_cy.pyx",
        "_put_datetime",
        "if zone is not None and zone is not _utc:",
        ("zone is not None and zone is not _utc -> True", "and -> or"),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put_time",
        "if zone is not None and zone is not _utc:",
        ("and -> or", "zone is not _utc -> True"),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put",
        "return _put_text(out, value, encoding)",
        ("-> pass",),
        FALLS_THROUGH,
    ),
    Known("_escape_cy.pyx", "_put", "if value is True:", ("value is True -> False",), QUICKER),
    Known("_escape_cy.pyx", "_put", 'return _put_chars(out, b"1", 1)', ("-> pass",), FALLS_THROUGH),
    Known("_escape_cy.pyx", "_put", "if value is False:", ("False -> True",), QUICKER),
    Known("_escape_cy.pyx", "_put", "return _put_float(out, value)", ("-> pass",), FALLS_THROUGH),
    Known(
        "_escape_cy.pyx",
        "_put",
        "if PyDateTime_CheckExact(value):",
        ("PyDateTime_CheckExact(value) -> False",),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx", "_put", "return _put_datetime(out, value)", ("-> pass",), FALLS_THROUGH
    ),
    Known(
        "_escape_cy.pyx",
        "_put",
        "if type(value) is _decimal_type:",
        ("type(value) is _decimal_type -> False",),
        QUICKER,
    ),
    Known(
        "_escape_cy.pyx",
        "_put",
        "return _put_binary(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), encoding)",
        ("-> pass",),
        FALLS_THROUGH,
    ),
    Known("_escape_cy.pyx", "_put", "return _put_date(out, value)", ("-> pass",), FALLS_THROUGH),
    Known(
        "_escape_cy.pyx",
        "_are_bytes",
        "if not PyTuple_CheckExact(fragments) and not PyList_CheckExact(fragments):",
        ("not PyTuple_CheckExact(fragments) and not PyList_CheckExa... -> True", "and -> or"),
        QUICKER,
    ),
    Known("_escape_cy.pyx", "_are_bytes", "return True", ("True -> False",), QUICKER),
    Known(
        "_escape_cy.pyx",
        "render",
        "if not _are_bytes(fragments):",
        ("not _are_bytes(fragments) -> True",),
        QUICKER,
    ),
]

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
]

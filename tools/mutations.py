"""What `mutants.py` changes: one operator, constant, condition or statement of a source at a time.

Python and Cython are read alike, by their tokens. Nearly all changes of a source go into one text
where `_at()` tells which of them is on: it is built once, and changes while it runs. What stands
outside of functions, and C, is changed in a text of its own.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

TOKEN = re.compile(
    r"""
    (?P<comment> \#[^\n]* | /\*[\s\S]*?\*/ )
    | (?P<string> [A-Za-z]{0,2}
        (?: \"{3}[\s\S]*?\"{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
    | (?P<number> 0[xX][\da-fA-F_]+ | \d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)? )
    | (?P<name> \w+ )
    | (?P<cast> <\w[\w\ ]*\**> )
    | (?P<op> -> | && | \|\| | \*\*=? | //=? | <<=? | >>=? | [-+*/%&|^@<>=!:]= | [^\w\s] )
    | (?P<newline> \n )
    | (?P<space> (?: [^\S\n] | \\\n )+ )
    """,
    re.VERBOSE,
)
# What an operator between two values becomes, and back where nothing else is said.
PAIRS = "< <=, > >=, == !=, + -, * //, << >>, & |, && ||, += -=, *= //=, &= |="
OTHERS = {"/": "*", "%": "*", "**": "*", "^": "&"}
for one, other in (pair.split() for pair in PAIRS.split(",")):
    OTHERS |= {one: other, other: one}
WORDS = {"and": "or", "or": "and", "True": "False", "False": "True"}
JUMPS = {"break": "continue", "continue": "break"}
# An operator after one of these does not stand between two values.
NO_VALUES = {*keyword.kwlist, "cdef", "cpdef"} - {"None", "True", "False"}
# Where a part of a condition begins and ends, if not at a bracket.
BEFORE = {"if", "elif", "while", "and", "or", "return", "=", ",", ":", ":=", "else"}
AFTER = {"and", "or", "if", "else", "for", ",", ":"}
CONDITIONS = {"if", "elif", "while"}
# These are left as they are.
UNCHANGED = {
    *("import", "from", "cimport", "global", "nonlocal", "assert", "pass", "@", "ctypedef"),
    *("__slots__", "__all__", "TYPE_CHECKING"),
}
DECLARING = {"extern", "struct", "enum", "union"}
FUTURE = ["from", "__future__"]

SWITCHES = {
    ".py": """\
import os as _os
_chosen = int(_os.environ.get("AIOMYSQLX_MUTANT", "0"))
_reached = set()
def _at(first, last):
    _reached.add(first)
    return first <= _chosen <= last
def _choose_mutant(number):
    global _chosen
    _chosen = number
def _take_reached():
    reached = sorted(_reached)
    _reached.clear()
    return reached
""",
    ".pyx": """\
import os as _os
cdef int _chosen = int(_os.environ.get("AIOMYSQLX_MUTANT", "0"))
cdef unsigned char[10000] _reached
cdef inline bint _at(int first, int last) noexcept:
    _reached[first] = 1
    return first <= _chosen and _chosen <= last
def _choose_mutant(int number):
    global _chosen
    _chosen = number
def _take_reached():
    reached = [number for number in range(10000) if _reached[number]]
    for number in reached:
        _reached[number] = 0
    return reached
""",
}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    stop: int
    depth: int  # of brackets around it


@dataclass(frozen=True, order=True)
class Change:
    """What is between *start* and *stop* becomes *text*."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Mutant:
    """A source with one change."""

    number: int
    function: str
    line: int
    code: str  # the statement, on one line
    change: str  # for people to read
    edit: Change
    alone: bool  # it takes a text of its own

    @property
    def key(self) -> str:
        """What tells it from all others of the source, whatever becomes of the rest."""
        return f"{self.function}: {self.code}: {self.change}"


@dataclass
class Slot:
    """Where one text has room for many changes: a statement, or an expression of a header."""

    pieces: list[tuple[int, int]]  # the assignments of a declaration, else one
    start: int
    stop: int
    declaration: str = ""
    is_expression: bool = False
    mutants: list[Mutant] = field(default_factory=list)

    def holds(self, part: Token | Change) -> bool:
        return any(start <= part.start and part.stop <= stop for start, stop in self.pieces)


class Source:
    """A Python or Cython source and all that can be changed in it."""

    def __init__(self, suffix: str, text: str, messages: bool = True) -> None:
        self.suffix = suffix
        self.text = text
        self.messages = messages  # whether those are changed too
        self.mutants: list[Mutant] = []
        self.slots: list[Slot] = []
        # The statements of each function, without those of the functions in it.
        self.functions: defaultdict[str, list[str]] = defaultdict(list)
        self._seen: Counter[str] = Counter()
        # The indentation, kind and name of each block around a statement.
        blocks: list[tuple[int, str, str]] = []
        for tokens in statements(text):
            start = tokens[0].start
            indent = start - (text.rfind("\n", 0, start) + 1)
            while blocks and blocks[-1][0] >= indent:
                blocks.pop()
            kind, name = block(tokens)
            function = ".".join(name for _, _, name in blocks if name)
            self.functions[function].append(" ".join(token.text for token in tokens))
            self._read(tokens, kind, function, {kind for _, kind, _ in blocks})
            if kind:
                blocks.append((indent, kind, name))

    def changed(self, mutant: Mutant) -> str:
        """Give the text with one change."""
        return self.text[: mutant.edit.start] + mutant.edit.text + self.text[mutant.edit.stop :]

    def switched(self, without: Collection[int] = ()) -> tuple[str, dict[int, int]]:
        """Give a text that has all changes but some, and which one each of its lines is for."""
        writer = Writer()
        position = after_future(self.text)
        writer.write(self.text[:position] + SWITCHES[self.suffix])
        for slot in sorted(self.slots, key=lambda slot: slot.start):
            mutants = [mutant for mutant in slot.mutants if mutant.number not in without]
            if mutants:
                writer.write(self.text[position : slot.start])
                write = self._write_expression if slot.is_expression else self._write_statement
                write(writer, slot, mutants)
                position = slot.stop
        writer.write(self.text[position:])
        return "".join(writer.written), writer.lines

    def groups(self, without: Collection[int] = ()) -> dict[int, int]:
        """Give the first mutant of its slot, which is what a test is said to reach, by mutant."""
        kept = [
            [mutant.number for mutant in slot.mutants if mutant.number not in without]
            for slot in self.slots
        ]
        return {number: numbers[0] for numbers in kept for number in numbers}

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, tokens: list[Token], kind: str, function: str, around: set[str]) -> None:
        texts = [token.text for token in tokens]
        if len(tokens) == 1 and tokens[0].kind == "string":
            if "declarations" in around:
                self._read_c(tokens[0])
        elif kind in ("class", "declarations") or UNCHANGED & {*texts[:2]}:
            pass
        elif texts == ["return", "0"] and self.suffix == ".pyx":
            pass  # of a function that can only fail: nobody reads it
        elif kind == "function":
            self._add_all(defaults(tokens), tokens, function, [])
        elif kind:
            slots = header_slots(tokens, self.suffix)
            found = [change for slot in slots for change in self._header_changes(slot, tokens)]
            self._add_all(found, tokens, function, slots if "function" in around else [])
        elif texts[0] == "cdef":
            slot = declaration_slot(tokens, self.text)
            if slot is not None:
                found = [*changes([token for token in tokens if slot.holds(token)])]
                self._add_all(found, tokens, function, [slot] if "function" in around else [])
        elif "declarations" not in around or "=" in texts:
            slot = Slot([whole(tokens)], *whole(tokens))
            body = without_annotation(tokens)
            found = [*changes(body), *deletions(tokens, self.suffix)] if body else []
            self._add_all(found, tokens, function, [slot] if "function" in around else [])

    def _header_changes(self, slot: Slot, tokens: list[Token]) -> Iterator[Change]:
        inside = [token for token in tokens if slot.holds(token)]
        before = tokens[tokens.index(inside[0]) - 1].text
        yield from changes(inside)
        if before == "except":
            yield Change(slot.start, slot.stop, "()")
        if before in CONDITIONS:
            wanted = ("False",) if before == "while" else ("True", "False")
            yield from (Change(slot.start, slot.stop, text) for text in wanted)

    def _read_c(self, string: Token) -> None:
        """Read the C between the quotes of *string*, line by line."""
        start = string.start + 3
        lines: dict[int, list[Token]] = {}
        for tokens in statements(self.text[start : string.stop - 3]):
            for token in tokens:
                moved = replace(token, start=token.start + start, stop=token.stop + start)
                lines.setdefault(self.text.count("\n", 0, moved.start), []).append(moved)
        for tokens in lines.values():
            tokens = [token for token in tokens if token.kind != "string"]
            found = [change for change in changes(tokens) if change.text not in WORDS]
            self._add_all(found, tokens, "", [])

    def _add_all(
        self, found: Iterable[Change], tokens: list[Token], function: str, slots: list[Slot]
    ) -> None:
        for change in sorted(set(found)):
            old = self.text[change.start : change.stop]
            if old != change.text and (self.messages or not is_message(old, change.text)):
                slot = next((slot for slot in slots if slot.holds(change)), None)
                mutant = self._add(change, tokens, function, slot is None)
                if slot is not None:
                    slot.mutants.append(mutant)
        self.slots += [slot for slot in slots if slot.mutants]

    def _add(self, change: Change, tokens: list[Token], function: str, alone: bool) -> Mutant:
        start, stop = whole(tokens)
        code = " ".join(self.text[start:stop].split())
        new = short(change.text) or "nothing"
        label = f"-> {new}"
        if (change.start, change.stop) != (start, stop):
            label = f"{short(self.text[change.start : change.stop])} {label}"
        alike = f"{function}: {code}: {label}"
        self._seen[alike] += 1
        if self._seen[alike] > 1:
            label = f"{label} #{self._seen[alike]}"
        line = self.text.count("\n", 0, change.start) + 1
        mutant = Mutant(len(self.mutants) + 1, function, line, code, label, change, alone)
        self.mutants.append(mutant)
        return mutant

    # -- writing ---------------------------------------------------------------------------------

    def _write_statement(self, writer: Writer, slot: Slot, mutants: list[Mutant]) -> None:
        line = self.text[self.text.rfind("\n", 0, slot.start) + 1 : slot.start]
        margin = "\n" + line[: len(line) - len(line.lstrip())]
        if slot.declaration:
            writer.write(f"{slot.declaration}{margin}")
        writer.write(f"if _at({mutants[0].number}, {mutants[-1].number}):")
        for mutant in mutants:
            writer.write(f"{margin} if _at({mutant.number}, {mutant.number}):{margin}  ")
            writer.write(self._alternative(slot, mutant), mutant.number)
        original = "; ".join(self.text[start:stop] for start, stop in slot.pieces)
        writer.write(f"{margin}else:{margin} {original}")

    def _write_expression(self, writer: Writer, slot: Slot, mutants: list[Mutant]) -> None:
        original = self.text[slot.start : slot.stop]
        group = f"_at({mutants[0].number}, {mutants[-1].number})"
        writer.write(f"(\n(\n{original}\n) if not {group} else\n")
        for mutant in mutants:
            writer.write("(")
            writer.write(self._alternative(slot, mutant), mutant.number)
            more = mutant is not mutants[-1]
            writer.write(f"\n) if _at({mutant.number}, {mutant.number}) else\n" if more else "\n))")

    def _alternative(self, slot: Slot, mutant: Mutant) -> str:
        edit = mutant.edit
        return "; ".join(
            self.text[start : edit.start] + edit.text + self.text[edit.stop : stop]
            if start <= edit.start and edit.stop <= stop
            else self.text[start:stop]
            for start, stop in slot.pieces
        )


class Writer:
    """Puts a text together and counts its lines."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.lines: dict[int, int] = {}
        self._line = 1

    def write(self, text: str, mutant: int = 0) -> None:
        last = self._line + text.count("\n")
        if mutant:
            self.lines.update(dict.fromkeys(range(self._line, last + 1), mutant))
        self._line = last
        self.written.append(text)


# -- statements and their parts ------------------------------------------------------------------


def statements(text: str) -> Iterator[list[Token]]:
    """Give the logical lines, without what means nothing."""
    found: list[Token] = []
    depth = 0
    for match in TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "newline" and not depth and found:
            yield found
            found = []
        if kind in ("newline", "space", "comment"):
            continue
        depth -= match.group() in (")", "]", "}")
        found.append(Token(kind, match.group(), match.start(), match.end(), depth))
        depth += match.group() in ("(", "[", "{")
    if found:
        yield found


def whole(tokens: list[Token]) -> tuple[int, int]:
    return tokens[0].start, tokens[-1].stop


def short(text: str) -> str:
    """Give the text on one line of at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def after_future(text: str) -> int:
    """Give where the first statement begins that may not be the very first."""
    for tokens in statements(text):
        if tokens[0].kind != "string" and [token.text for token in tokens[:2]] != FUTURE:
            return tokens[0].start
    return len(text)


def outside(tokens: list[Token]) -> list[str]:
    """Give the texts, without those in brackets."""
    return ["" if token.depth else token.text for token in tokens]


def block(tokens: list[Token]) -> tuple[str, str]:
    """Give what a header begins, and its name; nothing if it is a simple statement."""
    texts = [token.text for token in tokens if token.text != "async"]
    if texts[-1] != ":":
        return "", ""
    if texts[0] == "class" or texts[:2] == ["cdef", "class"]:
        return "class", texts[texts.index("class") + 1]
    if texts[0] == "cdef" and texts[1] in DECLARING:
        return "declarations", ""
    if texts[0] in ("def", "cdef", "cpdef"):
        return "function", texts[texts.index("(") - 1]
    return "header", ""


def defaults(tokens: list[Token]) -> Iterator[Change]:
    """Give the changes of a function's default arguments."""
    for number, token in enumerate(tokens[1:], 1):
        if tokens[number - 1].text == "=" and token.kind != "string":
            yield from changes([token])


def without_annotation(tokens: list[Token]) -> list[Token]:
    texts = outside(tokens)
    if ":" in texts and "lambda" not in texts[: texts.index(":")]:
        return tokens[texts.index("=") :] if "=" in texts else []
    return tokens


def header_slots(tokens: list[Token], suffix: str) -> list[Slot]:
    """Give the expressions of a header that can be changed."""
    if tokens[0].text == "async":
        tokens = tokens[1:]
    texts = outside(tokens)
    named = texts.index("as") if "as" in texts else -1
    if texts[0] in CONDITIONS:
        return [expression(tokens[1:-1])]
    if texts[0] == "except" and suffix == ".py" and len(tokens) > 2:
        return [expression(tokens[1:named])]
    if texts[0] == "with" and "," not in texts:
        return [expression(tokens[1:named])]
    if texts[0] == "for":
        iterated = tokens[texts.index("in") + 1 : -1]
        if [token.text for token in iterated[:2]] == ["range", "("]:
            # Cython makes loops in C of these.
            return [expression(part) for part in split(iterated[2:-1], 1)]
        return [expression(iterated)]
    return []


def expression(tokens: list[Token]) -> Slot:
    return Slot([whole(tokens)], *whole(tokens), is_expression=True)


def split(tokens: list[Token], depth: int) -> list[list[Token]]:
    """Give what stands between the commas of that depth."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == "," and token.depth == depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def declaration_slot(tokens: list[Token], text: str) -> Slot | None:
    """Give the assignments of a `cdef`, and what declares their names without them."""
    declared: list[str] = []
    pieces: list[tuple[int, int]] = []
    for part in split(tokens, 0):
        texts = outside(part)
        names = part[: texts.index("=")] if "=" in texts else part
        declared.append(text[slice(*whole(names))])
        if names != part:
            pieces.append((names[-1].start, part[-1].stop))
    return Slot(pieces, *whole(tokens), ", ".join(declared)) if pieces else None


# -- changes -------------------------------------------------------------------------------------


def changes(tokens: list[Token]) -> Iterator[Change]:
    """Give the changes of operators, constants and parts of conditions."""
    loops: Counter[int] = Counter()
    for number, token in enumerate(tokens):
        before = tokens[number - 1].text if number else ""
        start, stop, text = token.start, token.stop, token.text
        loops[token.depth] += text == "for"
        if token.kind == "number":
            yield from (Change(start, stop, other) for other in other_numbers(text))
        elif token.kind == "string":
            yield from (Change(start, stop, other) for other in other_strings(text))
        elif text in WORDS:
            yield Change(start, stop, WORDS[text])
        elif text in JUMPS:
            yield Change(start, stop, JUMPS[text])
        elif text in OTHERS and number and ends_value(tokens[number - 1]):
            if not (text == "%" and tokens[number - 1].kind == "string"):
                yield Change(start, stop, OTHERS[text])
        elif text == "-":
            yield Change(start, stop, "")
        elif text == "in" and loops[token.depth]:
            loops[token.depth] -= 1
        elif text in ("is", "in", "not"):
            yield from negations(tokens, number)
        if text in ("and", "or"):
            yield from parts_of_condition(tokens, number)
        if text == "if" and before:
            yield from inner_condition(tokens, number)


def ends_value(token: Token) -> bool:
    if token.kind == "name":
        return token.text not in NO_VALUES
    return token.kind in ("number", "string") or token.text in (")", "]", "}")


def negations(tokens: list[Token], number: int) -> Iterator[Change]:
    """Give the change of an `is`, `in` or `not`, with what belongs to it."""
    token, before, after = (
        tokens[number],
        tokens[number - 1].text if number else "",
        tokens[number + 1] if number + 1 < len(tokens) else None,
    )
    if token.text == "is" and after and after.text == "not":
        yield Change(token.start, after.stop, "is")
    elif token.text == "is":
        yield Change(token.start, token.stop, "is not")
    elif token.text == "in" and before == "not":
        yield Change(tokens[number - 1].start, token.stop, "in")
    elif token.text == "in":
        yield Change(token.start, token.stop, "not in")
    elif after and after.text != "in" and before != "is":
        yield Change(token.start, after.start, "")


def other_numbers(text: str) -> Iterator[str]:
    if not re.fullmatch(r"0[xX][\da-fA-F_]+|[\d_]+", text):
        yield from (repr(float(text) * 10), repr(float(text) / 10))
        return
    value = int(text, 0)
    shown = hex if text[:2] in ("0x", "0X") else str
    yield shown(value + 1)
    if value:
        yield shown(value - 1)


def other_strings(text: str) -> Iterator[str]:
    if text.startswith('c"'):
        code = ord(ast.literal_eval(text[1:]))
        others = [chr(code - 1), chr(code + 1)]
        yield from (f'c"{other}"' for other in others if other.isprintable() and other not in '"\\')
        return
    opening = re.match(r"[A-Za-z]*(?:\"{3}|\"|')", text)
    assert opening is not None
    yield f"{opening.group()}~{text[opening.end() :]}"


def is_message(old: str, new: str) -> bool:
    """Tell whether what changes is a string for people to read."""
    return " " in old and len(new) == len(old) + 1 and new.replace("~", "", 1) == old


def parts_of_condition(tokens: list[Token], number: int) -> Iterator[Change]:
    """Give the changes that leave out what stands before or after an `and` or `or`."""
    binds = tokens[number].text == "and"
    nothing = "True" if binds else "False"
    first, last = number, end_of_part(tokens, number, AFTER)
    while first and not ends(tokens[first - 1], tokens[number], BEFORE):
        first -= 1
    if binds or not (first and tokens[first - 1].text == "and"):
        yield Change(tokens[first].start, tokens[number - 1].stop, nothing)
    if binds or not (last + 1 < len(tokens) and tokens[last + 1].text == "and"):
        yield Change(tokens[number + 1].start, tokens[last].stop, nothing)


def inner_condition(tokens: list[Token], number: int) -> Iterator[Change]:
    """Give the changes of a condition within an expression."""
    last = end_of_part(tokens, number, AFTER - {"and", "or"})
    for text in ("True", "False"):
        yield Change(tokens[number + 1].start, tokens[last].stop, text)


def end_of_part(tokens: list[Token], number: int, marks: set[str]) -> int:
    last = number
    while last + 1 < len(tokens) and not ends(tokens[last + 1], tokens[number], marks):
        last += 1
    return last


def ends(token: Token, of: Token, marks: set[str]) -> bool:
    """Tell whether *token* ends the part of a condition that has *of* at its other end."""
    return token.depth < of.depth or (token.depth == of.depth and token.text in marks)


def deletions(tokens: list[Token], suffix: str) -> Iterator[Change]:
    """Give the changes that leave a statement out, or what it returns."""
    start, stop = whole(tokens)
    texts = outside(tokens)
    if texts[0] in ("break", "continue", "yield"):
        return
    if "=" in texts and not {".", "["} & {token.text for token in tokens[: texts.index("=")]}:
        return  # what is not assigned is not there
    if texts[0] == "return" and len(texts) > 1 and suffix == ".py":
        yield Change(tokens[1].start, stop, "None")
    yield Change(start, stop, "pass")

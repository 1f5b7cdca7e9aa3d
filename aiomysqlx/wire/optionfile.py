"""Option files, read as the servers' own clients read them.

What cannot be read raises `ArgumentError` with file and line, never with what stands there: it may
hold a password.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ..exc import ArgumentError
from .checks import truth
from .option import Option
from .options import CONNECT, ConnectOptions

# Those that every client reads, MariaDB's the latter two; the last line that says something counts.
_GROUPS = ("client", "client-server", "client-mariadb")
_MOST_INCLUDED = 10  # files within each other
_OPTIONS = {name: option for option in CONNECT.values() for name in option.in_files}
_ZERO_IS_DEFAULT = ("port", "connect_timeout")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", '"': '"', "'": "'", "\\": "\\"}


class Line(NamedTuple):
    """An option as it stands in a file."""

    name: str
    value: str | None
    place: str  # the file and the number of the line


class Given(NamedTuple):
    """An option that a file gives."""

    value: object
    label: str  # how to speak of it: where it stands and what it is called there


def read_options(path: str | os.PathLike[str], group: str | None) -> dict[str, Given]:
    """Return the options of a connection that a file gives, by the options' names."""
    groups = {name.lower() for name in (*_GROUPS, group) if name}
    found: dict[str, Given] = {}
    for line in _read(os.path.expanduser(path), groups, 0):
        name = line.name.lower().replace("_", "-")
        name, loose = name.removeprefix("loose-"), name.startswith("loose-")
        option, value = _understand(name, line.value)
        label = f"{line.place}: option {name!r}"
        if option is None:
            if not loose:
                _check_foreign(name, line.place)
            continue
        if value is None:
            raise ArgumentError(f"{label} has no value")
        try:
            assert option.parse is not None
            parsed = option.parse(value)
        except ValueError:
            parsed = None
        if parsed is None:
            raise ArgumentError(f"{label} does not take its value: expected {option.expected_text}")
        if option.name in _ZERO_IS_DEFAULT and parsed == 0:
            found.pop(option.name, None)
        else:
            found[option.name] = Given(parsed, label)
    return found


def _check_foreign(name: str, place: str) -> None:
    """Refuse an option that may be meant for us; other clients have others in the same group."""
    if re.match("(skip-|disable-|enable-)?(ssl|tls)", name):
        raise ArgumentError(
            f"{place}: an option of TLS that is unknown here: loose- in front of it has it ignored"
        )
    ours = ConnectOptions.find(name)
    # The clients take what only one option begins with for that one.
    whole = [known for known in _OPTIONS if len(name) > 2 and known.startswith(name)]
    if ours is not None:
        whole = list(ours.in_files)
    if whole:
        raise ArgumentError(f"{place}: the option's name is {whole[0]!r}")


def _understand(name: str, value: str | None) -> tuple[Option | None, str | None]:
    """Return the option of that name, and its value as text."""
    option = _OPTIONS.get(name)
    if option is not None:
        is_flag = option.parse is truth
        return option, "true" if is_flag and value is None else value
    prefix, _, rest = name.partition("-")
    option = _OPTIONS.get(rest)
    if option is None or option.parse is not truth or prefix not in ("skip", "disable", "enable"):
        return None, None
    is_on = (prefix == "enable") is (value != "0")  # the clients' skip-ssl=0 is ssl
    return option, str(is_on).lower()


def _read(path: str, groups: set[str], depth: int, origin: str = "") -> Iterator[Line]:
    """Read the lines of these groups of a file, and of those it includes; *origin* includes it."""
    group: str | None = None
    for number, text in enumerate(_content(path, origin).split("\n"), 1):
        place = f"option file {path!r}, line {number}"
        text = text.strip(" \t\n\v\f\r")
        if not text or text[0] in "#;":
            continue
        if text[0] == "!":
            for included in _included(text, place):
                if depth == _MOST_INCLUDED:
                    raise ArgumentError(f"{place}: files include each other more than 10 deep")
                yield from _read(included, groups, depth + 1, f"{place}: ")
            continue
        if text[0] == "[":
            group, closed, _ = text[1:].partition("]")
            group = group.rstrip().lower()
            if not closed:
                raise ArgumentError(f"{place}: expected a ']' that ends the name of the group")
            continue
        if group is None:
            raise ArgumentError(f"{place}: expected a [group] before the first option")
        if group in groups:
            name, value = _split(text)
            yield Line(name, value, place)


def _content(path: str, origin: str) -> str:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise _refusal(path, origin, "it is no regular file")
        # Whoever may change it could have the password sent to wherever he likes.
        if mode & stat.S_IWOTH and os.name == "posix":
            raise _refusal(
                path, origin, "everybody may write it, for which the servers' clients ignore it"
            )
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except UnicodeDecodeError as error:
        before: bytes = error.object[: error.start]
        reason = f"line {before.count(10) + 1} is not UTF-8"
    except ValueError:
        reason = "that is no name of a file"
    # Not from within: the error would have what stands in the file.
    raise _refusal(path, origin, reason)


def _refusal(path: str, origin: str, reason: str) -> ArgumentError:
    return ArgumentError(f"{origin}option file {path!r} does not load: {reason}")


def _included(text: str, place: str) -> list[str]:
    """Return the files that a line includes."""
    found = re.fullmatch(r"!\s*(include|includedir)\s+(.+)", text)
    if found is None:
        raise ArgumentError(
            f"{place}: expected '!include' and a file, or '!includedir' and a folder"
        )
    path = found[2]
    if found[1] == "include":
        return [path]
    try:
        names = sorted(os.listdir(path), key=os.fsencode)
    except OSError as error:
        reason = error.strerror
    else:
        return [os.path.join(path, name) for name in names if name.endswith(".cnf")]
    raise ArgumentError(f"{place}: the folder to include cannot be read: {reason}")


def _split(text: str) -> tuple[str, str | None]:
    """Return the name and the value of an option, without its comment, quotes and escapes."""
    name, has_value, value = _without_comment(text).partition("=")
    if not has_value:
        return name.strip(), None
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name.strip(), re.sub(
        r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), value, flags=re.DOTALL
    )


def _without_comment(text: str) -> str:
    quote, escaped = "", False
    for position, character in enumerate(text):
        if character in "'\"" and not escaped and quote in ("", character):
            quote = "" if quote else character
        if character == "#" and not quote:
            return text[:position]
        escaped = bool(quote) and character == "\\" and not escaped
    return text

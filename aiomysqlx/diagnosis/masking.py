"""Secrets are kept out of what is printed, whatever a message repeats of them.

No message of this package has one. This is for those of servers, resolvers and OpenSSL, to which
anything may come back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from ..runtime.words import printable
from ..settings import EngineOptions

Mask = Callable[[object], str]
"""Makes of an error, or of a text, one line without secrets."""

# Shorter ones are in every other word.
_LEAST = 4
_SHOWN = "(not shown)"
# As servers name whom they refuse, or who has too many connections: 1045, 1226 and 1203.
_USER = re.compile(r"\b(user) (?:'.*?'(?=@| has | on )|.+?(?= already has ))", re.IGNORECASE)


def mask_for(*given: Mapping[str, Any]) -> Mask:
    """Return what masks the secrets among options that are *given*, and the names of users."""
    return _mask(secret for options in given for secret in _secrets(options))


def _secrets(given: Mapping[str, Any]) -> Iterable[str]:
    for name, value in given.items():
        if EngineOptions.fields[name].secret and isinstance(value, (str, bytes)):
            yield value if isinstance(value, str) else value.decode("utf8", "replace")


def _mask(secrets: Iterable[str]) -> Mask:
    forms = {
        form
        for secret in secrets
        if len(secret) >= _LEAST
        for form in (secret, quote(secret, safe=""), quote_plus(secret), printable(secret))
    }
    # The longest first: one may be a part of another.
    found = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or r"(?!)")

    def mask(said: object) -> str:
        text = _USER.sub(rf"\1 '{_SHOWN}'", found.sub(_SHOWN, _text(said)))
        return printable(found.sub(_SHOWN, text))

    return mask


def _text(said: object) -> str:
    """Return the text of an error, with its number as servers' clients show it."""
    if isinstance(said, BaseException) and len(said.args) == 2 and isinstance(said.args[0], int):
        return f"{said.args[1]} ({said.args[0]})"
    return str(said) or type(said).__name__

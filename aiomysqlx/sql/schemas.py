"""The schemas of a statement that has a `schema_translate_map`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

Translation = frozenset[tuple[str | None, str | None]]
"""The items of a schema_translate_map."""
_DEFAULT = "\0"  # what stands for the default schema in them
_SCHEMA = r"__\[SCHEMA_([^\]]+)\](\.?)"


class HasSchema(Protocol):
    """A session, of which the current schema is known."""

    @property
    def schema(self) -> str:
        """The current schema."""


def translation(
    schema_translate_map: Mapping[str | None, str | None] | None, session: HasSchema | None
) -> Translation | None:
    """Return a map's items, with the session's schema if one is mapped to it; `None` if empty."""
    if not schema_translate_map:
        return None
    items = frozenset(schema_translate_map.items())
    if all(schema_translate_map.values()):
        return items
    return items | {(_DEFAULT, session.schema if session is not None else None)}


def translate_schemas(sql: str, preparer: Any, translated: Translation) -> str:
    """Write the schemas of a map in compiled SQL.

    The default one is left out, which is right also where the server does not tell of a `USE`;
    but not beside others, whose tables may have the same names.
    """
    schemas = dict(translated)

    def effective(name: str) -> str | None:
        key = None if name == "_none" else name
        return schemas.get(key, key)

    alone = not any(effective(match[1]) for match in re.finditer(_SCHEMA, sql))
    default = None if alone else schemas.get(_DEFAULT)

    def schema(match: re.Match[str]) -> str:
        name = effective(match[1]) or default
        return preparer.quote_schema(name) + match[2] if name else ""

    return re.sub(_SCHEMA, schema, sql)

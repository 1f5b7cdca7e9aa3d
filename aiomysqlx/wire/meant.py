"""What somebody means by an argument that there is not: a name of other packages, or a slip.

Few make one, so `option` imports this late.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Protocol

_COMPRESSED = "leave it out: nothing is compressed"
_PREPARED = "leave it out: no statement is prepared on the server, its plan is kept here"
_DIALECT = "give it to the dialect: dialect=sqlalchemy.dialects.mysql.pymysql.dialect(…)"
_TIME_ZONE = 'did you mean init_command="SET time_zone = …"?'
_ALL_CONNECTIONS = ", which counts all connections"

MAKES_ENGINES = "aiomysqlx.create_engine()"
"""What takes an engine's options; SQLAlchemy's own functions for it do not."""

# What there is in the place of what others take.
_INSTEAD = {
    "autoreconnect": "leave it out: ping() connects anew where that loses nothing",
    "binary_prefix": "leave it out: bytes are always written with _binary",
    "bind_address": "leave it out: the operating system chooses the address to connect from",
    "compress": _COMPRESSED,
    "compression": _COMPRESSED,
    "connect_args": "did you mean its entries, as arguments?",
    "cursor_cls": "did you mean 'cursorclass', with a class of this package's?",
    "defer_connect": "leave it out: connect() connects once it is awaited, and an engine with"
    " minsize=0 once a connection is acquired",
    "echo_pool": "leave it out: the pool logs to 'aiomysqlx.pool'",
    "execution_options": "leave it out: 'isolation_level', 'read_only' and 'warnings' are arguments"
    " of their own, an engine's 'statement_timeout' too",
    "future": "leave it out: there is no other style",
    "hide_parameters": "leave it out: values are logged with echo='values' only",
    "json_deserializer": _DIALECT,
    "json_serializer": _DIALECT,
    "max_allowed_packet": "leave it out: the server tells how much it takes; 'max_packet' limits"
    " what it may send",
    "named_pipe": "leave it out: the ways to a server are TCP and 'unix_socket'",
    "no_delay": "leave it out: TCP sends at once",
    "pool_name": "leave it out: each engine has a pool of its own",
    "pool_use_lifo": "leave it out: the connection that was used last is lent first",
    "poolclass": "leave it out: each engine has a pool of its own, from 'minsize' to 'maxsize'",
    "prepared_statement_cache_size": _PREPARED,
    "reconnect": "leave it out: ping() connects anew where that loses nothing",
    "stmt_cache_size": _PREPARED,
    "time_zone": _TIME_ZONE,
    "timezone": _TIME_ZONE,
    "use_pure": "leave it out: AIOMYSQLX_IMPL=python, in the environment, chooses pure Python",
}
# What has to be said besides an option's name.
_BESIDES = {
    "max_overflow": _ALL_CONNECTIONS,
    "password_creator": ", which may be a function",
    "pool_reset_on_return": ", for more than the rollback that there always is",
    "pool_size": _ALL_CONNECTIONS,
}
# And where it is one of an engine's, to who has no engine.
_WITHOUT_ENGINE = {"statement_timeout": "asyncio.timeout() limits what is awaited, and "}


class Named(Protocol):
    """An option, as far as it is known by names."""

    name: str
    meant_by: tuple[str, ...]


Fields = Mapping[str, Named]


def hint(name: str, options: Fields, engines: Fields) -> str:
    """Return what to do in the place of an argument that is not among *options*, or nothing.

    *engines* are those that only an engine takes.
    """
    name = name.replace("-", "_").lower()
    if name in _INSTEAD:
        return f"; {_INSTEAD[name]}"
    besides = _BESIDES.get(name, "")
    meant = _named_otherwise(name, options) or _near(name, options)
    if meant:
        return f"; did you mean {meant!r}{besides}?"
    meant = _named_otherwise(name, engines)
    if meant:
        return f"; {_WITHOUT_ENGINE.get(meant, '')}{MAKES_ENGINES} takes {meant!r}{besides}"
    return ""


def _named_otherwise(name: str, options: Fields) -> str | None:
    found = (field.name for field in options.values() if name in field.meant_by)
    return next(found, None)


def _near(name: str, options: Fields) -> str | None:
    """Return the option that is spelt nearly so, or the one that is longer."""
    longer = [field for field in options if len(name) > 2 and field.startswith(f"{name}_")]
    near = longer if len(longer) == 1 else get_close_matches(name, options, 1, 0.7)
    return near[0] if near else None

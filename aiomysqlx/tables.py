"""Creating and dropping tables, as an engine and its connections offer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from enum import Flag  # which SQLAlchemy's CheckFirst is, from 2.1 on

    from sqlalchemy import MetaData, Table

    from .ddl import Executor


class Tables:
    """What creates and drops tables, on the connection that a subclass has for it."""

    __slots__ = ()

    async def create_all(
        self,
        metadata: MetaData,
        tables: Sequence[Table] | None = None,
        checkfirst: bool | Flag = True,
        *,
        schema_translate_map: Mapping[str | None, str | None] | None = None,
    ) -> None:
        """Create the tables of *metadata*, all or *tables*, in the order that they depend on.

        As SQLAlchemy does it: with sequences, indexes, comments, constraints of tables that refer
        to each other, and the events of all these. *checkfirst* leaves alone what is there already.
        *schema_translate_map* stands for the execution option.

        Listeners are called in a thread, with a connection like SQLAlchemy's own; an engine commits
        what they write. A connection raises `InvalidRequestError` within a transaction, which the
        server would commit.
        """
        from . import ddl  # as late as this: most services have no need of it

        async with self._for_tables() as conn:
            await ddl.run(conn, "create_all", metadata, tables, checkfirst, schema_translate_map)

    async def drop_all(
        self,
        metadata: MetaData,
        tables: Sequence[Table] | None = None,
        checkfirst: bool | Flag = True,
        *,
        schema_translate_map: Mapping[str | None, str | None] | None = None,
    ) -> None:
        """Drop the tables of *metadata*, all or *tables*; as `create_all()` creates them."""
        from . import ddl

        async with self._for_tables() as conn:
            await ddl.run(conn, "drop_all", metadata, tables, checkfirst, schema_translate_map)

    def _for_tables(self) -> AbstractAsyncContextManager[Executor]:
        """Return the connection, to be used with `async with`."""
        raise NotImplementedError

    def _run_ddl_visitor(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        from . import ddl

        ddl.refuse()

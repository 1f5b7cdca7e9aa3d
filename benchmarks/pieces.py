"""The accelerated pieces at work: all that the benchmarks know of the package's inside.

Each function gives something to call and time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from .builds import load
from .recorded import OK, Recording

Work = Callable[[], object]


def _module(impl: str, name: str) -> Any:
    load(impl)
    return import_module(f"aiomysqlx.{name}")


# -- escape --------------------------------------------------------------------------------------


def escaping(impl: str, values: Sequence[object]) -> Work:
    """Escape each of *values*."""
    escape = _module(impl, "wire._impl").escape
    return lambda: [escape(value, "utf-8", False) for value in values]


def rendering(impl: str, sql: Sequence[bytes], values: Sequence[object], times: int) -> Work:
    """Render the fragments *sql* with *values* between them, *times* times."""
    render = _module(impl, "wire._impl").render
    return lambda: [render(sql, values, "utf-8", False) for _ in range(times)]


def rendering_in(impl: str, sql: Sequence[bytes], items: Sequence[object], times: int) -> Work:
    """Render a statement whose only parameter is the inside of IN (...)."""
    return rendering(impl, sql, (_module(impl, "wire.codes").InList(items),), times)


def rendering_rows(
    impl: str, head: bytes, group: Sequence[bytes], rows: Sequence[Sequence[object]]
) -> Work:
    """Render an INSERT of *rows* in one packet."""
    render_rows = _module(impl, "wire._impl").render_rows
    return lambda: render_rows(head, group, rows, b"", "utf-8", False, 0, 1 << 24)


# -- packet --------------------------------------------------------------------------------------


def _columns(impl: str, recording: Recording) -> Any:
    """Give the columns of a result."""
    columns = _module(impl, "wire.columns")
    definitions = columns.parse_columns(recording.definitions, "utf-8")
    conversions = [definition.conversion for definition in definitions]
    processors = [None] * len(definitions)
    return columns.Columns(recording.definitions, definitions, conversions, processors, "utf-8")


def _receive(reader: Any, data: memoryview, position: int) -> int:
    """Give *reader* as much as it takes of *data* from *position* on, as a socket would."""
    space = reader.get_buffer(-1)
    taken = min(len(space), len(data) - position)
    space[:taken] = data[position : position + taken]
    reader.buffer_updated(taken)
    return position + taken


def decoding(impl: str, recording: Recording, times: int) -> Work:
    """Decode the rows of a result, *times* times."""
    reader = _module(impl, "wire._impl").Reader()
    decoder = _columns(impl, recording).decoder
    data = memoryview(recording.rows)

    def decode() -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        reader.sequence = (2 + recording.columns) & 0xFF
        position, end = 0, None
        while end is None:
            position = _receive(reader, data, position)
            end = reader.rows(decoder, rows, True)
        return rows

    return _checked(lambda: [decode() for _ in range(times)], times, recording)


def reading(impl: str, recording: Recording, times: int) -> Work:
    """Read the whole answer to a query whose columns are known, *times* times."""
    reader = _module(impl, "wire._impl").Reader()
    columns = _columns(impl, recording)
    decoder, packets = columns.decoder, 1 + recording.columns
    data = memoryview(recording.reply)

    def read() -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        reader.sequence = 1
        _receive(reader, data, 0)
        assert reader.skip(columns.head, packets)
        reader.rows(decoder, rows, True)
        return rows

    return _checked(lambda: [read() for _ in range(times)], times, recording)


def _checked(work: Callable[[], list[Any]], times: int, recording: Recording) -> Work:
    """Give *work*, after a look at whether it gives the rows that there are."""
    if times * recording.size <= 1000:
        assert [len(rows) for rows in work()] == [recording.size] * times
    return work


def describing(impl: str, recording: Recording, times: int) -> Work:
    """Parse the definitions of a result's columns, *times* times."""
    _columns(impl, recording)
    return lambda: [_columns(impl, recording) for _ in range(times)]


def acknowledging(impl: str, times: int) -> Work:
    """Parse an OK packet, *times* times."""
    parse_ok = _module(impl, "wire._impl").parse_ok
    return lambda: [parse_ok(OK) for _ in range(times)]


# -- row -----------------------------------------------------------------------------------------


def making_rows(impl: str, names: Sequence[str], tuples: list[tuple[Any, ...]]) -> Work:
    """Make rows of *tuples*, in a copy of that list."""
    result = _module(impl, "result")
    make_rows = _module(impl, "wire._impl").make_rows
    metadata = result.ResultMetaData(names)
    return lambda: make_rows(result.RowProxy, metadata, tuples[:], 0)


# -- execute -------------------------------------------------------------------------------------


async def execution(
    impl: str, conn: Any, statement: Any, parameters: Any, build: Callable[[], Any]
) -> dict[str, Work]:
    """Return the pieces of executing a statement: call each, and await what some of them return.

    `looked up`, `rendered` and `run` are parts of `executed`, and that is one of `fetched`, each of
    which uses *statement* again. `built` is a part of `shaped`, and that one of `fetched anew`,
    which executes a statement that *build* returns.
    """
    command = _module(impl, "wire.command").Command
    shape_of = _module(impl, "sql.shapes").shape_of

    async def fetched() -> Any:
        return await (await conn.execute(statement, parameters)).first()

    async def fetched_anew() -> Any:
        return await (await conn.execute(build())).first()

    for _ in range(3):  # it is known from the second time on
        await fetched()
    planner, raw, syntax = conn._planner, conn._session, conn._syntax
    plan, extracted, values = planner.known(statement).planned(parameters, False)
    text = plan.text(syntax[0])
    packet = plan.render(text, values, extracted, syntax)
    return {
        "looked up": lambda: planner.known(statement).planned(parameters, False),
        "rendered": lambda: plan.render(plan.text(syntax[0]), values, extracted, syntax),
        "run": lambda: raw.run(command(packet, plan.describe, text.columns)),
        "executed": lambda: conn.execute(statement, parameters),
        "fetched": fetched,
        "built": build,
        "shaped": lambda: shape_of(build()),
        "fetched anew": fetched_anew,
    }

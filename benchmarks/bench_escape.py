"""Values to literals, statements to packets."""

from __future__ import annotations

from functools import cache

from . import pieces
from .builds import Bench
from .tables import VALUES, to_insert

SELECT = b"SELECT id, name, number, price, made, note FROM samples WHERE id = "
IN = b"SELECT id, name, number, price, made, note FROM samples WHERE id IN ("


@cache
def values(kind: str) -> list[object]:
    """Give 1,000 values of one type."""
    return [VALUES[kind](index) for index in range(1000)]


class Values(Bench):
    """1,000 values of one type."""

    params = (("py", "cy"), list(VALUES))
    param_names = ("impl", "type")

    def setup(self, impl: str, kind: str) -> None:
        self.work = pieces.escaping(impl, values(kind))

    def time_escape(self, impl: str, kind: str) -> None:
        self.work()


class Render(Bench):
    """Statements that are made all the time."""

    def setup(self, impl: str) -> None:
        self.point = pieces.rendering(impl, (SELECT, b""), (1234,), 1000)
        rows = [tuple(row.values()) for row in to_insert(1000)]
        group = (b"(", b", ", b", ", b", ", b", ", b")")
        self.rows = pieces.rendering_rows(impl, b"INSERT INTO inserted VALUES ", group, rows)

    def time_1000_point_selects(self, impl: str) -> None:
        self.point()

    def time_insert_of_1000_rows(self, impl: str) -> None:
        self.rows()


class Parameters(Bench):
    """10,000 parameters, so many to a statement: linear cost gives a level line."""

    params = (("py", "cy"), (1, 10, 100, 1000))
    param_names = ("impl", "parameters")

    def setup(self, impl: str, count: int) -> None:
        times = 10_000 // count
        sql = (SELECT, *[b" OR id = "] * (count - 1), b"")
        self.render = pieces.rendering(impl, sql, range(count), times)
        self.render_in = pieces.rendering_in(impl, (IN, b")"), range(count), times)

    def time_render(self, impl: str, count: int) -> None:
        self.render()

    def time_render_in(self, impl: str, count: int) -> None:
        self.render_in()


class Size(Bench):
    """10 MB of text, so much to a statement: linear cost gives a level line."""

    params = (("py", "cy"), (1_000, 100_000, 10_000_000))
    param_names = ("impl", "bytes")

    def setup(self, impl: str, size: int) -> None:
        times = 10_000_000 // size
        self.plain = pieces.rendering(impl, (SELECT, b""), ("x" * size,), times)
        self.quoted = pieces.rendering(impl, (SELECT, b""), ("it's " * (size // 5),), times)
        self.binary = pieces.rendering(impl, (SELECT, b""), (b"x" * size,), times)

    def time_plain_text(self, impl: str, size: int) -> None:
        self.plain()

    def time_quoted_text(self, impl: str, size: int) -> None:
        self.quoted()

    def time_bytes(self, impl: str, size: int) -> None:
        self.binary()

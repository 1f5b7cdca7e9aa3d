"""The contract of both implementations; their docstrings and behaviour are in the `_x_py.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, final

IMPLEMENTATION: Final[Literal["cython", "python"]]
COMPILED_TEXTS: Final[tuple[str, ...]]

def execute(statement_id: int, values: Sequence[object], encoding: str, mode: int) -> bytes: ...
def bulk(
    statement_id: int,
    rows: Sequence[Sequence[object]],
    encoding: str,
    mode: int,
    start: int,
    limit: int,
) -> tuple[bytes, int]: ...
def escape(value: object, encoding: str, mode: int) -> bytes: ...
def frame(payload: bytes, sequence: int = 0) -> bytes: ...
def render(
    fragments: Sequence[bytes],
    values: Sequence[object],
    encoding: str,
    mode: int,
) -> bytes: ...
def render_rows(
    head: bytes,
    row: Sequence[bytes],
    rows: Sequence[Sequence[object]],
    tail: bytes,
    encoding: str,
    mode: int,
    start: int,
    limit: int,
) -> tuple[bytes, int]: ...
def has_lists(values: Iterable[object]) -> bool: ...
def take_values(
    groups: Sequence[object],
    keys: Sequence[object] | None,
    checked: Sequence[bool],
    constants: Mapping[Any, object] | None,
) -> list[tuple[Any, ...]]: ...

@final
class Decoder:
    def __init__(
        self,
        names: Sequence[str],
        conversions: Sequence[int],
        processors: Sequence[Callable[[Any], Any] | None],
        encoding: str,
        wire: Sequence[int] | None = None,
    ) -> None: ...
    def row(self, payload: bytes) -> tuple[Any, ...]: ...

class Reader:
    limit: int
    sequence: int
    def __init__(self, limit: int = ...) -> None: ...
    @property
    def buffered(self) -> int: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def skip(self, packets: bytes, count: int) -> bool: ...
    def may_be_error(self, most: int) -> bool: ...
    def packet(self) -> bytes | None: ...
    def definitions(self, count: int) -> bytes | None: ...
    def rows(
        self,
        decoder: Decoder | None,
        out: list[tuple[Any, ...]],
        deprecate_eof: bool,
        most: int = 0,
    ) -> bytes | None: ...

def parse_ok(payload: bytes) -> tuple[int, int, int, int, bytes]: ...
def parse_eof(payload: bytes) -> tuple[int, int]: ...

class BaseMetadata:
    _keymap: dict[Any, int]
    _attributes: dict[str, int]
    def __init__(self, keymap: dict[Any, int], attributes: dict[str, int]) -> None: ...
    def _locate(self, key: Any) -> int: ...

class BaseRow:
    _metadata: BaseMetadata
    _values: tuple[Any, ...]
    def __init__(self, metadata: BaseMetadata, values: tuple[Any, ...]) -> None: ...
    # Of the two ways to have columns as attributes, the one that every class has.
    def __getattribute__(self, name: str, /) -> Any: ...
    def __getitem__(self, key: Any) -> Any: ...
    def __len__(self) -> int: ...
    def as_tuple(self) -> tuple[Any, ...]: ...

def make_rows(
    cls: type[BaseRow], metadata: BaseMetadata, values: list[Any], start: int
) -> None: ...

"""Rows: `_row` in both implementations, and `RowProxy` over each of them."""

from __future__ import annotations

import copy
import gc
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table, column, func, literal_column, text
from twins import twins

import aiomysqlx as sa
from aiomysqlx.result import ResultMetaData, RowProxy
from aiomysqlx.sql import rows
from aiomysqlx.wire import _impl

TWINS = twins("row")
PURE = TWINS[0]
METADATA = MetaData()
T = Table("t", METADATA, Column("id", Integer), Column("name", String(10)))
OTHER = Table("t2", METADATA, Column("name", String(10)), Column("flag", Integer))
AMBIGUOUS = "Ambiguous column name 'id' in result set! name each column by AS or label()"


def missing(key: object) -> str:
    return f"Could not locate column in row for column '{key}'; it has 'id' and 'name'"


def rows_module(module: ModuleType) -> Any:
    """`sql/rows.py` over this implementation's base classes."""
    name = f"aiomysqlx.sql.{module.__name__.rpartition('.')[2]}_rows"
    spec = importlib.util.spec_from_file_location(name, rows.__file__)
    assert spec is not None and spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    names = ("BaseMetadata", "BaseRow")
    with mock.patch.multiple(_impl, **{name: getattr(module, name) for name in names}):
        spec.loader.exec_module(copied)
    return copied


ROWS = {module: rows_module(module) for module in TWINS}
CLASSES = {module: rows.RowProxy for module, rows in ROWS.items()}


def make_metadata(module: ModuleType, *arguments: Any) -> Any:
    return ROWS[module].ResultMetaData(*arguments)


def make_rows(module: ModuleType, metadata: Any, values: list[Any]) -> list[Any]:
    module.make_rows(CLASSES[module], metadata, values, 0)
    return values


def make(module: ModuleType, keys: list[str], values: tuple[Any, ...], objects: Any = None) -> Any:
    return make_rows(module, make_metadata(module, keys, objects), [values])[0]


@pytest.fixture
def one(row: ModuleType) -> Any:
    """The row (1, 'a') of the table t."""
    return make(row, ["id", "name"], (1, "a"), [(T.c.id,), (T.c.name,)])


@pytest.fixture
def twice(row: ModuleType) -> Any:
    """A row with two columns called id, of tables that are not known."""
    return make(row, ["id", "name", "id"], (1, "a", 2))


FOUND = {
    "name": ("name", "a"),
    "position": (0, 1),
    "true": (True, "a"),
    "float": (1.0, "a"),
    "column": (T.c.id, 1),
    "column-without-table": (column("id"), 1),
    "literal-column": (literal_column("id"), 1),
    "slice": (slice(0, 1), (1,)),
    "empty-slice": (slice(5, 9), ()),
}


@pytest.mark.parametrize(("key", "value"), FOUND.values(), ids=FOUND)
def test_keys_that_find_a_value(one: Any, key: Any, value: Any) -> None:
    assert one[key] == value


NOT_FOUND = {
    "name": "nope",
    "other-case": "ID",
    "qualified": "t.id",
    "negative": -1,
    "position": 2,
    "none": None,
    "tuple": (),
    "bytes": b"id",
    "other-tables-column": OTHER.c.flag,
    "other-tables-same-name": OTHER.c.name,
    "table": T,
    "function": func.count(),
    "text": text("id"),
}


@pytest.mark.parametrize("key", NOT_FOUND.values(), ids=NOT_FOUND)
def test_keys_that_find_nothing(one: Any, key: Any) -> None:
    with pytest.raises(sa.NoSuchColumnError) as caught:
        one[key]

    assert caught.value.args == (missing(key),)
    assert key not in one
    assert one.get(key, 5) == 5


@pytest.mark.parametrize("key", [[], {}, set()], ids=["list", "dict", "set"])
def test_unhashable_keys_are_type_errors(one: Any, key: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        one[key]
    with pytest.raises(TypeError, match="unhashable"):
        key in one  # noqa: B015


def test_attributes(one: Any) -> None:
    assert (one.id, one.name) == (1, "a")
    assert hasattr(one, "id") and not hasattr(one, "nope")
    assert getattr(one, "nope", 7) == 7


@pytest.mark.parametrize("name", ["nope", "ID", "count", "index", "_nope"])
def test_missing_attribute(one: Any, name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(one, name)

    assert caught.value.args == (missing(name),)


def test_missing_dunder_is_an_ordinary_attribute_error(one: Any) -> None:
    with pytest.raises(AttributeError, match="^__html__$"):
        _ = one.__html__
    assert not hasattr(one, "__dict__")


def test_row_is_a_mapping_of_names(one: Any) -> None:
    assert isinstance(one, Mapping) and not isinstance(one, tuple)
    assert list(one) == list(one.keys()) == ["id", "name"]
    assert list(one.values()) == [1, "a"]
    assert list(one.items()) == [("id", 1), ("name", "a")]
    assert dict(one) == dict(**one) == one.as_dict() == one._asdict() == {"id": 1, "name": "a"}
    assert one.as_mapping() == one._mapping == {"id": 1, "name": "a"}
    assert len(one) == 2 and bool(one)
    assert "{id}".format_map(one) == "1"


@pytest.mark.parametrize("key", ["id", 0, 1, T.c.id], ids=["name", "0", "1", "column"])
def test_contains_keys(one: Any, key: Any) -> None:
    assert key in one


def test_contains_no_values(one: Any) -> None:
    assert "a" not in one
    assert 99 not in one


def test_row_as_tuple_and_fields(one: Any) -> None:
    assert one.as_tuple() == (1, "a") and type(one.as_tuple()) is tuple
    assert one._fields == ("id", "name")
    assert repr(one) == str(one) == "(1, 'a')"


def test_row_equals_rows_and_tuples(row: ModuleType, one: Any) -> None:
    same = make(row, ["x", "y"], (1, "a"))
    other = make(row, ["id", "name"], (2, "a"))

    assert one == (1, "a") and one == (1, "a") and one == same
    assert one != (1, "b") and one != other
    assert (one != (1, "a")) is False


@pytest.mark.parametrize(
    "other",
    [[1, "a"], {"id": 1, "name": "a"}, 5, None, "str", range(2)],
    ids=["list", "dict", "int", "none", "str", "range"],
)
def test_row_equals_nothing_else(one: Any, other: Any) -> None:
    assert one != other
    assert (one == other) is False


def test_row_has_no_order_hash_or_sum(one: Any) -> None:
    with pytest.raises(TypeError, match="not supported"):
        one < one  # noqa: B015
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    with pytest.raises(TypeError):
        one + one
    with pytest.raises(TypeError):
        reversed(one)
    with pytest.raises(TypeError):
        json.dumps(one)


@pytest.mark.parametrize("name", ["id", "x", "_values", "__class__"])
def test_row_is_read_only(one: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=f"^rows are read-only: cannot set '{name}'$"):
        setattr(one, name, 1)
    with pytest.raises(AttributeError, match=f"^rows are read-only: cannot delete '{name}'$"):
        delattr(one, name)
    with pytest.raises(TypeError):
        one["id"] = 1
    assert one == (1, "a")


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda row: row["id"], id="item"),
        pytest.param(lambda row: row.id, id="attribute"),
        pytest.param(lambda row: row.get("id"), id="get"),
        pytest.param(lambda row: hasattr(row, "id"), id="hasattr"),
        pytest.param(lambda row: dict(row), id="dict"),
        pytest.param(lambda row: row.as_dict(), id="as_dict"),
        pytest.param(lambda row: row.as_mapping()["id"], id="as_mapping"),
    ],
)
def test_ambiguous_name_raises_when_it_is_used(twice: Any, use: Any) -> None:
    with pytest.raises(sa.InvalidRequestError) as caught:
        use(twice)

    assert caught.value.args == (AMBIGUOUS,)
    assert not isinstance(caught.value, (KeyError, AttributeError))


def test_ambiguous_name_harms_nothing_else(twice: Any) -> None:
    assert (twice[0], twice[2], twice.name) == (1, 2, "a")
    assert twice == (1, "a", 2) and twice.as_tuple() == (1, "a", 2)
    assert repr(twice) == "(1, 'a', 2)"
    assert list(twice) == ["id", "name", "id"] and len(twice) == 3
    assert "id" in twice


def test_columns_of_two_tables_keep_apart(row: ModuleType) -> None:
    both = make(row, ["name", "name"], ("a", "b"), [(T.c.name,), (OTHER.c.name,)])

    assert (both[T.c.name], both[OTHER.c.name]) == ("a", "b")
    with pytest.raises(sa.InvalidRequestError, match="Ambiguous column name 'name'"):
        _ = both.name


@pytest.mark.parametrize(
    "name",
    [
        *("keys", "items", "get", "values", "as_tuple", "as_dict", "as_mapping"),
        *("_asdict", "_fields", "_mapping", "_values"),
    ],
)
def test_method_wins_over_a_column_of_its_name(row: ModuleType, name: str) -> None:
    odd = make(row, [name, "other"], (1, 2))

    assert odd[name] == 1 and odd[0] == 1
    assert getattr(odd, name) != 1


@pytest.mark.parametrize("name", ["__class__", "__dict__", "__len__", "__getattr__", "__x__"])
def test_dunder_columns_are_items_only(row: ModuleType, name: str) -> None:
    odd = make(row, [name], (1,))

    assert odd[name] == 1
    assert getattr(odd, name, None) != 1


@pytest.mark.parametrize("name", ["", "a b", "class", "é", "_row", "1", "\n"])
def test_odd_names_are_names(row: ModuleType, name: str) -> None:
    odd = make(row, [name], (1,))

    assert odd[name] == 1 and getattr(odd, name) == 1


def test_names_that_differ_in_case_are_two(row: ModuleType) -> None:
    both = make(row, ["a", "A"], (1, 2))

    assert (both.a, both.A, both["a"], both["A"]) == (1, 2, 1, 2)


def test_row_without_columns(row: ModuleType) -> None:
    empty = make(row, [], ())

    assert len(empty) == 0 and list(empty) == [] and empty == ()


def test_mapping_compares_like_one(one: Any) -> None:
    mapping = one._mapping

    assert isinstance(mapping, Mapping) and type(mapping).__name__ == "RowMapping"
    assert mapping == {"id": 1, "name": "a"} == mapping
    assert mapping["id"] == 1 and mapping[T.c.name] == "a"
    assert list(mapping) == ["id", "name"] and len(mapping) == 2 and "id" in mapping
    assert repr(mapping) == "{'id': 1, 'name': 'a'}"
    with pytest.raises(TypeError, match="unhashable"):
        hash(mapping)


def test_make_rows_makes_a_row_of_each_tuple(row: ModuleType) -> None:
    metadata = make_metadata(row, ["id"])

    rows = make_rows(row, metadata, [(1,), (2,), (3,)])

    assert type(rows) is list and [each.id for each in rows] == [1, 2, 3]
    assert {type(each) for each in rows} == {CLASSES[row]}
    assert all(each._metadata is metadata for each in rows)
    assert make_rows(row, metadata, []) == []


@pytest.mark.parametrize(("start", "made"), [(0, 3), (1, 2), (3, 0), (9, 0), (-1, 1), (-9, 3)])
def test_make_rows_leaves_those_before_the_start_alone(
    row: ModuleType, start: int, made: int
) -> None:
    values: list[Any] = [(1,), (2,), (3,)]

    row.make_rows(CLASSES[row], make_metadata(row, ["id"]), values, start)

    assert [type(each) for each in values] == [tuple] * (3 - made) + [CLASSES[row]] * made
    assert values == [(1,), (2,), (3,)]


def test_make_rows_makes_rows_of_those_that_have_come_since(row: ModuleType) -> None:
    metadata = make_metadata(row, ["id"])
    values: list[Any] = [(1,), (2,)]
    row.make_rows(CLASSES[row], metadata, values, 0)
    first = list(values)

    values += [(3,), (4,)]
    row.make_rows(CLASSES[row], metadata, values, 2)

    assert all(a is b for a, b in zip(values, first, strict=False))
    assert [each.id for each in values] == [1, 2, 3, 4]


def test_make_rows_refuses_all_or_none(row: ModuleType) -> None:
    values: list[Any] = [(1,), (2,), [3]]

    with pytest.raises(TypeError):
        row.make_rows(CLASSES[row], make_metadata(row, ["id"]), values, 0)

    assert values == [(1,), (2,), [3]] and type(values[0]) is tuple


def test_row_can_be_made_directly(row: ModuleType) -> None:
    made = CLASSES[row](make_metadata(row, ["id"]), (1,))

    assert made.id == 1 and made == (1,)


def make_some(module: ModuleType, values: Any) -> None:
    module.make_rows(CLASSES[module], make_metadata(module, ["id"]), values, 0)


REFUSED: dict[str, tuple[Any, str]] = {
    "other-metadata": (
        lambda module: module.BaseRow({}, (1,)),
        "expected BaseMetadata, got dict",
    ),
    "list-of-values": (
        lambda module: module.BaseRow(make_metadata(module, ["id"]), [1]),
        "expected a tuple of values, got list",
    ),
    "no-values": (
        lambda module: module.BaseRow(make_metadata(module, ["id"]), None),
        "expected a tuple of values, got NoneType",
    ),
    "rows-of-lists": (
        lambda module: make_some(module, [[1]]),
        "expected a tuple of values, got list",
    ),
    "rows-in-a-tuple": (
        lambda module: make_some(module, ((1,),)),
        "expected a list of rows, got tuple",
    ),
    "no-rows-in-a-tuple": (
        lambda module: make_some(module, ()),
        "expected a list of rows, got tuple",
    ),
    "list-of-places": (
        lambda module: module.BaseMetadata([], {}),
        "expected a dictionary, got list",
    ),
    "no-attributes": (
        lambda module: module.BaseMetadata({}, None),
        "expected a dictionary, got NoneType",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_row_is_refused(row: ModuleType, call: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call(row)

    assert str(caught.value) == message


def test_row_without_arguments_is_refused(row: ModuleType) -> None:
    with pytest.raises(TypeError):
        row.BaseRow()


def test_metadata_finds_nothing_by_itself(row: ModuleType) -> None:
    metadata = row.BaseMetadata({}, {})

    with pytest.raises(NotImplementedError):
        metadata._locate("id")


def test_row_that_was_never_filled_has_no_columns(row: ModuleType) -> None:
    empty = row.BaseRow.__new__(row.BaseRow)

    for access in (lambda: empty["id"], lambda: empty.id):
        with pytest.raises(AttributeError, match="^_metadata$"):
            access()


def test_metadata_that_was_never_filled_has_no_columns(row: ModuleType) -> None:
    class Bare(row.BaseMetadata):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

    made = row.BaseRow(Bare(), (1,))

    for access in (lambda: made["id"], lambda: made.id):
        with pytest.raises((AttributeError, NotImplementedError)):
            access()


def test_subclass_of_tuple_serves_as_values(row: ModuleType) -> None:
    class Values(tuple[Any, ...]):
        __slots__ = ()

    made = make(row, ["a", "b"], Values((1, 2)))

    assert (made.a, made["b"], made[1], len(made)) == (1, 2, 2, 2)


def test_too_few_values_are_an_index_error(row: ModuleType) -> None:
    short = make(row, ["a", "b"], (1,))

    for access in (lambda: short.b, lambda: short["b"], lambda: short[1]):
        with pytest.raises(IndexError, match="tuple index out of range"):
            access()


@pytest.mark.parametrize("method", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_rows_are_copied(method: Any) -> None:
    original = RowProxy(ResultMetaData(["id", "x"], [(T.c.id,), ()]), (1, [2]))

    copied = method(original)

    assert copied == original and type(copied) is RowProxy
    assert copied.id == 1 and copied[T.c.id] == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_rows_are_pickled(protocol: int) -> None:
    metadata = ResultMetaData(["id", "id", "name"], [(T.c.id,), (), (T.c.name, "t_name")])
    rows = [RowProxy(metadata, (1, 2, "a")), RowProxy(metadata, (3, 4, "b"))]

    first, second = pickle.loads(pickle.dumps(rows, protocol))

    assert [first, second] == rows and type(first) is RowProxy
    assert first.name == "a" and first[T.c.name] == "a" and first._fields == ("id", "id", "name")
    assert first["t_name"] == "a"
    assert first._metadata is second._metadata
    with pytest.raises(sa.InvalidRequestError, match="Ambiguous"):
        _ = first.id
    assert pickle.loads(pickle.dumps(first._mapping))["name"] == "a"


LOAD = """
import pickle, sys
import aiomysqlx
rows = pickle.load(sys.stdin.buffer)
assert rows[0].id == 1 and rows[0]["name"] == "a" and rows == [(1, "a"), (2, None)], rows
sys.stdout.buffer.write(pickle.dumps(rows, 2))
print(aiomysqlx.IMPLEMENTATION, file=sys.stderr)
"""


@pytest.mark.parametrize("implementation", ["python", "cython"][: len(TWINS)])
def test_pickles_pass_between_the_builds(implementation: str) -> None:
    metadata = ResultMetaData(["id", "name"], [(T.c.id,), (T.c.name,)])
    rows = [RowProxy(metadata, (1, "a")), RowProxy(metadata, (2, None))]

    answer = subprocess.run(
        [sys.executable, "-c", LOAD],
        input=pickle.dumps(rows, 2),
        capture_output=True,
        # The package of this run, not the sources in the folder it was started from.
        cwd="/",
        env={
            **os.environ,
            "AIOMYSQLX_IMPL": implementation,
            "PYTHONPATH": str(Path(sa.__file__).parents[1]),
        },
        timeout=60,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.decode().strip() == implementation
    assert pickle.loads(answer.stdout) == rows
    assert answer.stdout == pickle.dumps(rows, 2)


def test_a_name_shared_by_an_expression_and_a_column() -> None:
    metadata = ResultMetaData(["sum_1", "sum_2"], [("sum",), ("sum",)])
    row = RowProxy(metadata, (1, 2))

    assert (row.sum_1, row.sum_2) == (1, 2)
    with pytest.raises(sa.InvalidRequestError, match="Ambiguous column name 'sum'"):
        _ = row.sum


# -- both twins alike ------------------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["id", "name", "keys", "_values", "__class__", "", "as_tuple", "_fields"]),
    st.text(max_size=3),
)
KEYS = st.one_of(
    NAMES,
    st.integers(-3, 6),
    st.booleans(),
    st.floats(),
    st.none(),
    st.binary(max_size=2),
    st.tuples(st.integers()),
    st.slices(4),
    st.lists(st.integers(), max_size=1),
    st.sampled_from([T.c.id, T.c.name, OTHER.c.name, T, 1 << 80]),
)


def outcome(call: Any) -> Any:
    try:
        value = call()
    except Exception as error:
        return type(error), [str(arg) for arg in error.args]
    # Methods and views differ in their address only.
    return (type(value).__name__,) if callable(value) else (type(value), repr(value))


@given(names=st.lists(NAMES, max_size=4), key=KEYS)
def test_twins_find_the_same_by_any_key(names: list[str], key: Any) -> None:
    found = [
        (
            outcome(lambda made=made: made[key]),
            outcome(lambda made=made: key in made),
            outcome(lambda made=made: made.get(key)),
        )
        for made in (make(module, names, tuple(range(len(names)))) for module in TWINS)
    ]

    assert all(each == found[0] for each in found)


@given(names=st.lists(NAMES, max_size=4), name=NAMES)
def test_twins_find_the_same_by_any_attribute(names: list[str], name: str) -> None:
    rows = [make(module, names, tuple(range(len(names)))) for module in TWINS]
    if name == "__class__":
        return

    found = [outcome(lambda made=made: getattr(made, name)) for made in rows]

    assert all(each == found[0] for each in found)


SUBCLASS = "expected a subclass of BaseRow, got "
NO_CLASSES: dict[str, tuple[Any, Any, str]] = {
    "other-metadata": (lambda base: base, object(), "expected BaseMetadata, got object$"),
    "other-class": (lambda base: dict, None, f"{SUBCLASS}<class 'dict'>$"),
    "no-class": (lambda base: 1, None, f"{SUBCLASS}1$"),
    "parameterized": (lambda base: GenericAlias(base, (int,)), None, SUBCLASS),
    "looks-like-one": (
        lambda base: mock.NonCallableMock(__bases__=(base,)),
        None,
        SUBCLASS,
    ),
}


@pytest.mark.parametrize("values", [[], [(1,)]], ids=["none", "one"])
@pytest.mark.parametrize("name", NO_CLASSES)
def test_make_rows_refuses_what_makes_no_rows(
    row: ModuleType, name: str, values: list[Any]
) -> None:
    make_class, metadata, message = NO_CLASSES[name]
    metadata = metadata or make_metadata(row, ["id"])

    with pytest.raises(TypeError, match=f"^{message}"):
        row.make_rows(make_class(row.BaseRow), metadata, values, 0)


def test_twins_name_their_members_alike() -> None:
    members = [
        {name for name in dir(module.BaseRow) if not name.startswith("__")} for module in TWINS
    ]

    assert all(each == members[0] for each in members)


# -- memory ----------------------------------------------------------------------------------------


def test_rows_leak_nothing(row: ModuleType) -> None:
    metadata = make_metadata(row, ["id", "name"], [(T.c.id,), (T.c.name,)])

    def use() -> None:
        rows = make_rows(row, metadata, [(number, "x") for number in range(200)])
        for each in rows:
            _ = each.id, each["name"], each[0], each[T.c.id], dict(each), "id" in each
            getattr(each, "nope", None)
            each.get("nope")

    def grown(times: int) -> int:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(times):
            use()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        use()
        gc.collect()
        # A reference lost per row or per access would be hundreds of kilobytes.
        assert grown(50) < 20_000
    finally:
        tracemalloc.stop()


def test_reference_counts_come_back(row: ModuleType) -> None:
    metadata = make_metadata(row, ["id"])
    value = object()
    values = (value,)
    before = sys.getrefcount(metadata), sys.getrefcount(value), sys.getrefcount(values)

    rows = make_rows(row, metadata, [values] * 10)
    for each in rows:
        _ = each.id, each["id"], each[0], each.as_tuple()
    del rows, each, _

    assert (
        sys.getrefcount(metadata),
        sys.getrefcount(value),
        sys.getrefcount(values),
    ) == before


def test_cycles_through_a_row_are_collected(row: ModuleType) -> None:
    class Watched:
        pass

    gc.collect()
    holder: list[Any] = []
    watched = Watched()
    holder.append(make(row, ["a", "b"], (holder, watched)))
    alive = [0]

    def count() -> int:
        return sum(isinstance(each, Watched) for each in gc.get_objects())

    alive[0] = count()
    del holder, watched
    gc.collect()

    assert (alive[0], count()) == (1, 0)


def plain() -> tuple[Any, ...]:
    """Values that refer to nothing, in a tuple that the collector has looked at."""
    values = (1, "x", 1.5, None, b"y")
    gc.collect()
    assert not gc.is_tracked(values)
    return values


def test_row_of_plain_values_is_the_collectors_in_the_pure_build_alone(row: ModuleType) -> None:
    assert gc.is_tracked(make(row, list("abcde"), plain())) is (row is PURE)


def test_row_of_objects_is_the_collectors(row: ModuleType) -> None:
    assert gc.is_tracked(make(row, ["a", "b"], (1, {})))


@pytest.mark.parametrize(
    "slots",
    [None, ("more",), ("__dict__",)],
    ids=["any", "slot", "dict"],
)
def test_row_of_a_class_with_more_to_hold_is_the_collectors(
    row: ModuleType, slots: tuple[str, ...] | None
) -> None:
    members = {} if slots is None else {"__slots__": slots}
    wider = type("Wider", (row.BaseRow,), members)
    values: list[Any] = [plain()]
    row.make_rows(wider, make_metadata(row, list("abcde")), values, 0)
    (made,) = values

    assert gc.is_tracked(made)


def test_rows_among_which_one_holds_objects_are_collected(row: ModuleType) -> None:
    class Value:
        rows: Any

    value = Value()
    reference = weakref.ref(value)
    values: list[Any] = [plain(), (value, 1, 2, 3, 4), plain()]
    make_rows(row, make_metadata(row, list("abcde")), values)
    value.rows = values

    del value, values
    gc.collect()

    assert reference() is None


def test_rows_without_an_instance_dictionary(one: Any) -> None:
    assert not hasattr(one, "__dict__") and not hasattr(one, "__weakref__")

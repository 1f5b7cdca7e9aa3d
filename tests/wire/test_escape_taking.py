"""The values of many groups of parameters, taken by both implementations."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import twins

from aiomysqlx.wire.codes import InList

pytestmark = pytest.mark.twins

KEYS = ("a", "b")
CHECKED = (True, True)
GOOD = {"a": 1, "b": "x"}


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class OfUnhashable(metaclass=Unhashable):
    """A value whose type cannot be looked up."""


class Text(str):
    """A key that is equal to a `str`."""

    __slots__ = ()


def test_values_are_in_the_order_of_the_keys(escape: ModuleType) -> None:
    groups = [{"b": "x", "a": 1}, {"a": 2, "b": None}]

    assert escape.take_values(groups, KEYS, CHECKED, {}) == [(1, "x"), (2, None)]
    assert escape.take_values(groups, ["b", "a", "b"], [True] * 3, {}) == [
        ("x", 1, "x"),
        (None, 2, None),
    ]


@pytest.mark.parametrize(
    "group",
    [
        pytest.param({"a": 1}, id="missing"),
        pytest.param({"a": 1, "c": 2}, id="another"),
        pytest.param({"a": 1, "b": 2, "c": 3}, id="more"),
        pytest.param({}, id="empty"),
        pytest.param((1, 2), id="tuple"),
        pytest.param(OrderedDict(GOOD), id="subclass"),
        pytest.param(None, id="none"),
        pytest.param({"a": [], "b": 2}, id="list"),
        pytest.param({"a": 1, "b": (2, 3)}, id="tuple among the values"),
        pytest.param({"a": 1, "b": {2}}, id="set"),
    ],
)
def test_values_are_taken_up_to_a_group_that_is_not_plain(escape: ModuleType, group: Any) -> None:
    for groups, taken in (
        ([group, GOOD], []),
        ([GOOD, group, GOOD], [(1, "x")]),
        ([GOOD, GOOD, group], [(1, "x")] * 2),
    ):
        assert escape.take_values(groups, KEYS, CHECKED, {}) == taken


def test_other_names_are_left_alone_where_there_may_be_any(escape: ModuleType) -> None:
    groups = [{**GOOD, "c": 3}, GOOD, {"a": 1}, GOOD]

    assert escape.take_values(groups, KEYS, CHECKED, None) == [(1, "x")] * 2


def test_constants_stand_for_what_all_groups_leave_out(escape: ModuleType) -> None:
    keys, checked = ("a", "n", "b", "n"), (True,) * 4

    assert escape.take_values([GOOD, GOOD], keys, checked, {"n": 7}) == [(1, 7, "x", 7)] * 2
    for group in ({**GOOD, "n": 8}, {"a": 1, "n": 8}, {"a": 1}, {"a": 1, "c": 2}):
        assert escape.take_values([GOOD, group], keys, checked, {"n": 7}) == [(1, 7, "x", 7)]


def test_lists_are_taken_where_they_are_not_checked(escape: ModuleType) -> None:
    groups = [{"a": [1], "b": 2}, {"a": {3}, "b": InList([4])}, {"a": 1, "b": [2]}]

    taken = escape.take_values(groups, KEYS, (False, True), {})

    assert taken == [([1], 2), ({3}, [4])]
    assert taken[0][0] is groups[0]["a"]


def test_tuples_are_taken_as_they_are(escape: ModuleType) -> None:
    groups: list[Any] = [(1, "x"), (Decimal(1), datetime(2024, 1, 2)), (None, 1.5)]

    taken = escape.take_values(groups, None, CHECKED, None)

    assert [id(row) for row in taken] == [id(group) for group in groups]
    for group in ((1,), (1, 2, 3), [1, 2], GOOD, "ab", (1, [2]), ((), 1)):
        assert escape.take_values([*groups, group, (1, 2)], None, CHECKED, None) == groups


def test_statement_without_parameters_takes_empty_groups(escape: ModuleType) -> None:
    assert escape.take_values([{}, {}, {"a": 1}], (), (), {}) == [(), ()]
    assert escape.take_values([(), (1,)], None, (), None) == [()]


def test_one_key_makes_tuples_too(escape: ModuleType) -> None:
    assert escape.take_values([{"a": "xy"}, {"a": None}], ("a",), (True,), {}) == [("xy",), (None,)]


def test_key_need_only_be_equal(escape: ModuleType) -> None:
    groups = [{Text("a"): 1, "b": "x"}, {"a": 1, Text("b"): "x"}]

    assert escape.take_values(groups, (Text("a"), "b"), CHECKED, {}) == [(1, "x")] * 2


def test_keys_and_what_is_checked_have_to_be_as_many(escape: ModuleType) -> None:
    with pytest.raises(ValueError, match="expected 2 keys to be checked or not, got 1"):
        escape.take_values([GOOD], KEYS, (True,), {})


def test_type_that_cannot_be_hashed_is_refused(escape: ModuleType) -> None:
    for checked in (CHECKED, (False, False)):
        with pytest.raises(TypeError, match="unhashable"):
            escape.take_values([GOOD, {"a": OfUnhashable(), "b": 1}], KEYS, checked, {})
        assert escape.take_values([{"a": 1}, {"a": OfUnhashable()}], KEYS, checked, {}) == []


values = (
    st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.floats(allow_nan=False)
    | st.sampled_from([True, b"x", Decimal("1.5"), datetime(2024, 1, 2), InList([1]), [1], (), {2}])
)
names = st.sampled_from("abcd")
groups = (
    st.dictionaries(names, values, max_size=4)
    | st.fixed_dictionaries({"a": values, "b": values})
    | st.lists(values, max_size=3).map(tuple)
    | st.sampled_from([None, OrderedDict(GOOD), [1, 2], "ab"])
)


@settings(max_examples=500)
@given(
    many=st.lists(groups, max_size=5),
    keys=st.none() | st.lists(names, max_size=3) | st.just(list(KEYS)),
    checked=st.lists(st.booleans(), min_size=3, max_size=3),
    constants=st.none() | st.dictionaries(names, values, max_size=2),
)
def test_twins_take_alike(
    many: list[Any], keys: list[str] | None, checked: list[bool], constants: Any
) -> None:
    flags = checked[: 2 if keys is None else len(keys)]

    first, *others = [twin.take_values(many, keys, flags, constants) for twin in twins("escape")]

    for other in others:
        assert other == first
        assert [[*map(type, row)] for row in other] == [[*map(type, row)] for row in first]

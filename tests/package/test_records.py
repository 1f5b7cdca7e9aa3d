"""The package's small objects of some fields."""

from __future__ import annotations

import dataclasses

import pytest

from aiomysqlx.wire.outcome import Refusal

LOCKED = Refusal(1205, "HY000", "Lock wait")


def test_record_takes_its_fields_in_order_or_by_name() -> None:
    assert Refusal(1205, message="Lock wait", sqlstate="HY000") == LOCKED
    assert (LOCKED.code, LOCKED.sqlstate, LOCKED.message) == (1205, "HY000", "Lock wait")
    assert repr(LOCKED) == "Refusal(code=1205, sqlstate='HY000', message='Lock wait')"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param((1205, "HY000"), {}, id="too-few"),
        pytest.param((1205, "HY000", "Lock wait", 1), {}, id="too-many"),
        pytest.param((1205, "HY000"), {"text": "Lock wait"}, id="unknown"),
        pytest.param((1205, "HY000", "Lock wait"), {"code": 1213}, id="twice"),
    ],
)
def test_record_takes_no_other_fields(values: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Refusal(*values, **named)  # type: ignore[arg-type,call-arg,misc]


def test_record_is_equal_to_its_like_alone() -> None:
    assert Refusal(1213, "HY000", "Lock wait") != LOCKED
    assert LOCKED != (1205, "HY000", "Lock wait")
    assert hash(LOCKED) == hash(Refusal(message="Lock wait", sqlstate="HY000", code=1205))


def test_record_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LOCKED.code = 1  # type: ignore[misc]
